"""Data sets: CamVid from files, and shapes that need none."""

from collections.abc import Sequence

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .data_settings import check_data_settings
from .shapes import ShapesDataset

__all__ = ["CamVidDataset", "ShapesDataset", "check_data_settings"]

COLORS = {
    "sky": [128, 128, 128],
    "building": [128, 0, 0],
    "pole": [192, 192, 128],
    "road": [128, 64, 128],
    "pavement": [60, 40, 222],
    "tree": [128, 128, 0],
    "sign": [192, 128, 128],
    "fence": [64, 64, 128],
    "car": [64, 0, 128],
    "pedestrian": [64, 64, 0],
    "bicyclist": [0, 128, 192],
}


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid with the eleven classes of SegNet; docs/own-data.md says how its files are laid out.

    Index 11 is void and becomes 255, which losses and metrics ignore. Arguments are those of
    :class:`mmseg.datasets.BaseSegDataset`.
    """

    METAINFO = dict(classes=tuple(COLORS), palette=list(COLORS.values()))

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """New value for each value of the label files that changes, void among them."""
        return {**(super().get_label_map(new_classes) or {}), len(COLORS): 255}
