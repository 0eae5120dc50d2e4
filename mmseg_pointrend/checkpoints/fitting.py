"""Taking weights from checkpoints completely, in whatever layout they come."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger
from torch import Tensor, nn

from ..decode_head import PointRendHead
from ..errors import InputError
from ..wrappers import bare_segmentor
from .layouts import to_own_layout
from .loading import load_checkpoint

# Parts whose every weight has to find its place; an auxiliary head may be dropped.
PARTS = ("backbone.", "neck.", "decode_head.")


def read_checkpoint(path: str | Path, trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint to the CPU without running code that it may carry.

    Args:
        path (str | Path): A ``.pth`` file of MMEngine or MMCV, or a bare state dict; or its
            address, whatever MMEngine's ``load_from`` takes.
        trust (bool): Whether to run the code all the same. Defaults to False.

    Returns:
        dict: The checkpoint, with its weights under ``'state_dict'``.

    Raises:
        InputError: If the file is missing, is no checkpoint, or, as :class:`RefusedCheckpoint`, if
            it asks for code to be run and is not trusted.
    """
    checkpoint = load_checkpoint(path, trust=trust)
    if not isinstance(checkpoint, Mapping):
        raise InputError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint.")
    checkpoint = dict(checkpoint) if "state_dict" in checkpoint else {"state_dict": checkpoint}
    weights = checkpoint["state_dict"]
    if not isinstance(weights, Mapping) or not any(isinstance(w, Tensor) for w in weights.values()):
        raise InputError(f"{path} holds no weights; those of MMEngine lie under 'state_dict'.")
    return checkpoint


def check_weights(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    path: str | Path,
    allow_partial: bool = False,
    fresh_point_head: bool = False,
) -> None:
    """Refuse weights that would leave a part of a model as it was initialized.

    Args:
        model (nn.Module): The model that is to take the weights, or a wrapper around it.
        state_dict (Mapping[str, Tensor]): The weights, in any layout.
        path (str | Path): Where they come from, for the message.
        allow_partial (bool): Whether to warn instead. Defaults to False.
        fresh_point_head (bool): Whether all weights of the point head may be missing, as they are
            in a coarse model that is to be trained further. Defaults to False.

    Raises:
        InputError: If weights are missing, have other shapes or no place; names the first few.
    """
    expected, given = bare_segmentor(model).state_dict(), _own_weights(model, state_dict)
    problems = _problems(expected, given)
    is_coarse = not any(map(_is_of_point_head, given))
    if fresh_point_head and is_coarse:
        problems = {name: text for name, text in problems.items() if not _is_of_point_head(name)}
    if not problems:
        return
    shown = [*problems.values()] if allow_partial else [*problems.values()][:4]
    more = len(problems) - len(shown)
    listed = "; ".join(shown) + (f"; and {more} more" if more else "")
    message = f"{path} does not fit the model in {len(problems)} weights: {listed}."
    if is_coarse and all(map(_is_of_point_head, problems)):
        message += " It is incomplete: a coarse model, whose point head has yet to be trained."
    for name in problems:
        if name.endswith(("conv_seg.bias", "fc_seg.bias")) and name in given and name in expected:
            message += f" It has {len(given[name])} classes, the model {len(expected[name])}."
            break
    if not allow_partial:
        raise InputError(
            f"{message} Pass the config it was trained with. (train, test and predict go on with "
            "what fits if told --allow-partial, in Python allow_partial=True.)"
        )
    MMLogger.get_current_instance().warning(message)


def load_weights(
    model: nn.Module, path: str | Path, allow_partial: bool = False, trust: bool = False
) -> dict[str, Any]:
    """Load the weights of a checkpoint into a model, all of them or none.

    Args:
        model (nn.Module): The model, or a wrapper around it; changed in place.
        path (str | Path): The checkpoint file, in any layout.
        allow_partial (bool): Whether to load what fits. Defaults to False.
        trust (bool): Whether to run code that the checkpoint carries. Defaults to False.

    Returns:
        dict: The checkpoint's ``meta``: classes, palette, the config it was trained with.

    Raises:
        InputError: If the file cannot be read or does not fit.
    """
    checkpoint = read_checkpoint(path, trust)
    state_dict = checkpoint["state_dict"]
    check_weights(model, state_dict, path, allow_partial)
    expected = bare_segmentor(model).state_dict()
    fitting = {
        name: weight
        for name, weight in _own_weights(model, state_dict).items()
        if name in expected and weight.shape == expected[name].shape
    }
    bare_segmentor(model).load_state_dict(fitting, strict=False)
    if allow_partial:
        accept_incomplete_weights(model)
    return checkpoint.get("meta", {})


def accept_incomplete_weights(model: nn.Module) -> None:
    """Have a model predict, or a retrofit train, although it was not loaded as a whole."""
    for _, head in _point_rend_heads(model):
        head.point_head_is_fresh, head.misfit = False, None
    segmentor = bare_segmentor(model)
    if hasattr(segmentor, "misfit"):
        segmentor.misfit = None


def _point_rend_heads(model: nn.Module) -> Iterator[tuple[str, PointRendHead]]:
    for name, module in bare_segmentor(model).named_modules():
        if isinstance(module, PointRendHead):
            yield f"{name}.", module


def _own_weights(model: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that a model has for them."""
    weights = {name.removeprefix("module."): weight for name, weight in state_dict.items()}
    for prefix, _ in _point_rend_heads(model):
        weights, _ = to_own_layout(weights, prefix)
    return weights


def _problems(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, str]:
    """What is wrong with given weights, by name: those missing, misshapen or too many."""
    problems = {}
    for name, weight in expected.items():
        if name not in given:
            # older checkpoints lack the counter, which nothing but momentum=None reads
            if not name.endswith("num_batches_tracked"):
                problems[name] = f"{name} is missing"
        elif given[name].shape != weight.shape:
            problems[name] = f"{name} is {_shape(given[name])}, the model has {_shape(weight)}"
    for name in given:
        # A ResNet-101 has all the weights of a ResNet-50, and more.
        if name.startswith(PARTS) and name not in expected:
            problems[name] = f"{name} is not in the model"
    return problems


def _is_of_point_head(name: str) -> bool:
    return ".point_head." in name


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
