"""Whether weights fit a model: one rule for every loader, hook and module that takes weights."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger, print_log
from torch import Tensor, nn

from ..errors import InputError
from .layouts import Layout, to_own_layout
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


def find_misfit(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    path: str | Path = "The checkpoint",
    *,
    prefix: str = "",
    fresh_point_head: bool = False,
    max_shown: int | None = 4,
) -> str | None:
    """Find out what keeps weights from filling a model.

    Args:
        model (nn.Module): The model or a part of it.
        state_dict (Mapping[str, Tensor]): The weights, in any layout.
        path (str | Path): Where they come from, for the message. Defaults to 'The checkpoint'.
        prefix (str): What the names of the model's weights begin with in ``state_dict``. Defaults
            to ''.
        fresh_point_head (bool): Whether all weights of the point head may be missing, as they are
            in a coarse model that is to be trained further. Defaults to False.
        max_shown (int, optional): Number of weights that are named. Defaults to 4; None names all.

    Returns:
        str | None: One line that names the weights that are missing, have other shapes or no place;
        None if there are none.
    """
    prefix = _without_wrappers(prefix)
    expected = {prefix + name: weight for name, weight in model.state_dict().items()}
    given = _under_names_of(expected, state_dict)
    given = {name: weight for name, weight in given.items() if name.startswith(prefix)}
    problems = _problems(expected, given)
    is_coarse = not any(map(_is_of_point_head, given))
    if fresh_point_head and is_coarse:
        problems = {name: text for name, text in problems.items() if not _is_of_point_head(name)}
    if not problems:
        return None
    shown = [*problems.values()][:max_shown]
    more = len(problems) - len(shown)
    listed = "; ".join(shown) + (f"; and {more} more" if more else "")
    message = f"{path} does not fit the model in {len(problems)} weights: {listed}."
    if is_coarse and all(map(_is_of_point_head, problems)):
        return (
            f"{message} It is incomplete: a coarse model, whose point head has yet to be trained; "
            "train it with load_from set to the checkpoint."
        )
    for name in problems:
        if name.endswith(("conv_seg.bias", "fc_seg.bias")) and name in given and name in expected:
            message += f" It has {len(given[name])} classes, the model {len(expected[name])}."
            break
    return f"{message} Use the config it was trained with."


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
        fresh_point_head (bool): See :func:`find_misfit`. Defaults to False.

    Raises:
        InputError: If weights are missing, have other shapes or no place.
    """
    misfit = find_misfit(
        bare_segmentor(model),
        state_dict,
        path,
        fresh_point_head=fresh_point_head,
        max_shown=None if allow_partial else 4,
    )
    if misfit is not None and allow_partial:
        MMLogger.get_current_instance().warning(misfit)
    elif misfit is not None:
        raise InputError(
            f"{misfit} (train, test and predict go on with what fits if told --allow-partial, in "
            "Python allow_partial=True.)"
        )


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
    check_weights(model, checkpoint["state_dict"], path, allow_partial)
    segmentor = bare_segmentor(model)
    expected = segmentor.state_dict()
    weights = _under_names_of(expected, checkpoint["state_dict"])
    fitting = {
        name: weight
        for name, weight in weights.items()
        if name in expected and weight.shape == expected[name].shape
    }
    segmentor.load_state_dict(fitting, strict=False)
    if allow_partial:
        accept_misfits(model)
    return checkpoint.get("meta", {})


def adapt_weights(head: nn.Module, state_dict: dict[str, Tensor], prefix: str) -> str | None:
    """Rename weights that are about to be loaded as a PointRendHead names them.

    Whichever loader reads a checkpoint, MMEngine's included, a head gets it in this way.

    Args:
        head (nn.Module): The head, with a ``misfit``.
        state_dict (dict[str, Tensor]): The weights of a model; changed in place, as the parts of
            the head are handed the same dictionary.
        prefix (str): What the names of the head's weights begin with.

    Returns:
        str | None: The head's new ``misfit``: what keeps the weights from filling it.
    """
    weights, layout = to_own_layout(state_dict, prefix)
    state_dict.clear()
    state_dict.update(weights)
    if layout is None:
        return head.misfit
    if layout is Layout.COARSE:
        print_log(
            "The weights are those of a model without a point head: its decode head becomes the "
            "coarse head; the point head starts fresh and has to be trained.",
            logger="current",
            level=logging.WARNING,
        )
    return find_misfit(head, weights, prefix=prefix)


def accept_misfits(model: nn.Module) -> None:
    """Have a model predict, or a retrofit train, with weights that fill only parts of it."""
    for module in model.modules():
        if getattr(module, "misfit", None) is not None:
            module.misfit = None


def bare_segmentor(model: nn.Module) -> nn.Module:
    """The segmentor inside of wrappers for distributed training or test-time augmentation."""
    while not hasattr(model, "decode_head") and hasattr(model, "module"):
        model = model.module
    return model


def _under_names_of(expected: Iterable[str], state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that a model has for them."""
    weights = {_without_wrappers(name): weight for name, weight in state_dict.items()}
    marker = "coarse_head."
    for prefix in {name.partition(marker)[0] for name in expected if marker in name}:
        weights, _ = to_own_layout(weights, prefix)
    return weights


def _without_wrappers(name: str) -> str:
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


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
    return "point_head." in name or "image_branch." in name


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
