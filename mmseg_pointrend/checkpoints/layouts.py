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
