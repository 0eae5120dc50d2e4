"""Data sets: CamVid from files, and shapes that need none."""

from .camvid import CamVidDataset
from .checked_loading import LoadCheckedAnnotations, LoadCheckedImage
from .data_settings import check_data_settings
from .drawing import render_shapes
from .shapes import ShapesDataset

__all__ = [
    "CamVidDataset",
    "LoadCheckedAnnotations",
    "LoadCheckedImage",
    "ShapesDataset",
    "check_data_settings",
    "render_shapes",
]
