"""The names that the weights of a PointRend head have in other people's checkpoints."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

Weight = TypeVar("Weight")


class Layout(Enum):
    """How the weights of a decode head are named, below the head's own prefix."""

    POINTREND = "coarse_head.*, point_head.*: PointRendHead"
    CASCADE = "0.*, 1.*: MMSegmentation's CascadeEncoderDecoder of a coarse head and a PointHead"
    COARSE = "a coarse head on its own, without a point head"


def head_layout(weights: Mapping[str, object], prefix: str = "decode_head.") -> Layout | None:
    """Tell how the weights of a decode head, those below ``prefix``, are named; None if there are
    none."""
    parts = {
        name.removeprefix(prefix).partition(".")[0] for name in weights if name.startswith(prefix)
    }
    if not parts:
        return None
    if parts & {"coarse_head", "point_head"}:
        return Layout.POINTREND
    # Other cascades, as OCRNet's, are coarse heads: only a PointHead classifies by fc_seg.
    is_cascade = any(name.startswith(f"{prefix}1.fc_seg.") for name in weights)
    return Layout.CASCADE if is_cascade else Layout.COARSE


def to_own_layout(
    weights: Mapping[str, Weight], prefix: str = "decode_head."
) -> tuple[dict[str, Weight], Layout | None]:
    """Give the weights of a decode head, those below ``prefix``, the names that
    :class:`PointRendHead` has for them; returns the same weights and the layout that they had."""
    layout, renames = head_layout(weights, prefix), {}
    if layout is Layout.CASCADE:
        # A PointHead classifies by fc_seg; the conv_seg of its base class is of no use.
        weights = {k: v for k, v in weights.items() if not k.startswith(f"{prefix}1.conv_seg.")}
        renames = {f"{prefix}0.": f"{prefix}coarse_head.", f"{prefix}1.": f"{prefix}point_head."}
    elif layout is Layout.COARSE:
        renames = {prefix: f"{prefix}coarse_head."}
    return {_rename(name, renames): weight for name, weight in weights.items()}, layout


def _rename(name: str, renames: Mapping[str, str]) -> str:
    for old, new in renames.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
