"""Whether weights fit a model, in whatever layout: one rule for all that takes weights."""

import logging
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import InputError
from .reading import read_checkpoint

# Parts whose every weight has to find its place; an auxiliary head may be dropped.
PARTS = ("backbone.", "neck.", "decode_head.")
MAX_NAMED = 6  # weights in a message

Weight = TypeVar("Weight")


class Layout(Enum):
    """How the weights of a decode head are named, below the head's own prefix."""

    POINTREND = "coarse_head.*, point_head.*: PointRendHead"
    CASCADE = "0.*, 1.*: MMSegmentation's CascadeEncoderDecoder of a coarse head and a PointHead"
    COARSE = "a coarse head on its own, without a point head"


def find_misfit(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    path: str | Path = "The checkpoint",
    *,
    prefix: str = "",
    fresh_point_head: bool = False,
) -> str | None:
    """Find out what keeps weights, in any layout, from filling a model, a wrapper around it, or a
    part of it whose weights have names that begin with ``prefix``.

    With ``fresh_point_head`` all weights of the point head may be missing, as they are in a coarse
    model that is to be trained further. Returns one line that names weights that are missing, have
    another shape or no place in the model, and that they come from ``path``; None if all fit.
    """
    prefix = _unwrapped(prefix)
    expected = {prefix + k: weight for k, weight in bare_segmentor(model).state_dict().items()}
    given = _renamed(state_dict, expected)
    given = {name: weight for name, weight in given.items() if name.startswith(prefix)}
    misfits = _misfits(expected, given)
    is_coarse = not any(map(_is_of_point_head, given))
    if fresh_point_head and is_coarse:
        misfits = {name: text for name, text in misfits.items() if not _is_of_point_head(name)}
    if not misfits:
        return None
    more = len(misfits) - MAX_NAMED
    listed = "; ".join([*misfits.values()][:MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")
    advice = "Use the config it was trained with."
    if is_coarse and all(map(_is_of_point_head, misfits)):
        advice = (
            "It is incomplete: a coarse model, whose point head has yet to be trained; train it "
            "with load_from set to the checkpoint."
        )
    return f"{path} does not fit the model in {len(misfits)} weights: {listed}. {advice}"


def check_weights(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    path: str | Path,
    allow_partial: bool = False,
    fresh_point_head: bool = False,
) -> None:
    """Raise an InputError, or with ``allow_partial`` warn, about what :func:`find_misfit` finds."""
    misfit = find_misfit(model, state_dict, path, fresh_point_head=fresh_point_head)
    if misfit is not None and allow_partial:
        print_log(misfit, logger="current", level=logging.WARNING)
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
        path (str | Path): The checkpoint, see :func:`read_checkpoint`, in any layout.
        allow_partial (bool): Whether to load what fits. Defaults to False.
        trust (bool): Whether to run code that the checkpoint carries. Defaults to False.

    Returns:
        dict: The checkpoint's ``meta``: classes, palette, the config it was trained with.

    Raises:
        InputError: If the file cannot be read or does not fit.
    """
    checkpoint = read_checkpoint(path, trust)
    check_weights(model, checkpoint["state_dict"], path, allow_partial)
    expected = bare_segmentor(model).state_dict()
    weights = _renamed(checkpoint["state_dict"], expected)
    fitting = {k: w for k, w in weights.items() if k in expected and w.shape == expected[k].shape}
    bare_segmentor(model).load_state_dict(fitting, strict=False)
    if allow_partial:
        accept_misfits(model)
    return checkpoint.get("meta", {})


def to_own_layout(
    weights: Mapping[str, Weight], prefix: str = "decode_head."
) -> tuple[dict[str, Weight], Layout | None]:
    """Give the weights of a decode head, those below ``prefix``, the names that
    :class:`PointRendHead` has for them; returns the same weights and the layout that they had,
    None if there are none."""
    names = [name.removeprefix(prefix) for name in weights if name.startswith(prefix)]
    if not names:
        layout, renames = None, {}
    elif any(name.startswith(("coarse_head.", "point_head.")) for name in names):
        layout, renames = Layout.POINTREND, {}
    elif any(name.startswith("1.fc_seg.") for name in names):
        # Only a PointHead classifies by fc_seg; the conv_seg of its base class is of no use to it.
        layout, renames = Layout.CASCADE, {"0.": "coarse_head.", "1.": "point_head."}
        weights = {k: v for k, v in weights.items() if not k.startswith(f"{prefix}1.conv_seg.")}
    else:  # other cascades, as OCRNet's, are coarse heads too
        layout, renames = Layout.COARSE, {"": "coarse_head."}

    def own_name(name: str) -> str:
        for old, new in renames.items():
            if name.startswith(prefix + old):
                return prefix + new + name.removeprefix(prefix + old)
        return name

    return {own_name(name): weight for name, weight in weights.items()}, layout


def adapt_weights(head: nn.Module, state_dict: dict[str, Tensor], prefix: str) -> str | None:
    """Rename the weights of a PointRendHead, those below ``prefix``, in a checkpoint that is about
    to be loaded, in place; returns the head's new ``misfit``."""
    weights, layout = to_own_layout(state_dict, prefix)
    state_dict.clear()
    state_dict.update(weights)
    return head.misfit if layout is None else find_misfit(head, weights, prefix=prefix)


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


def _unwrapped(name: str) -> str:
    return re.sub(r"^(module\.)+", "", name)


def _renamed(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that a model has for them."""
    renamed = {_unwrapped(name): weight for name, weight in weights.items()}
    for prefix in {k.partition("coarse_head.")[0] for k in expected if "coarse_head." in k}:
        renamed, _ = to_own_layout(renamed, prefix)
    return renamed


def _misfits(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, str]:
    """What is wrong with given weights, by name: those missing, misshapen or too many."""
    misfits = {}
    for name, weight in expected.items():
        if name not in given:
            # older checkpoints lack the counter, which nothing but momentum=None reads
            if not name.endswith("num_batches_tracked"):
                misfits[name] = f"{name} is missing"
        elif given[name].shape != weight.shape:
            misfits[name] = f"{name} is {_shape(given[name])}, the model has {_shape(weight)}"
    for name in given:
        # A ResNet-101 has all the weights of a ResNet-50, and more.
        if name.startswith(PARTS) and name not in expected:
            misfits[name] = f"{name} is not in the model"
    return misfits


def _is_of_point_head(name: str) -> bool:
    return "point_head." in name or "image_branch." in name


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
