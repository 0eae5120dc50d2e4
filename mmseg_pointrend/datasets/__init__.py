"""Data sets: CamVid from files, and shapes that need none."""

from .camvid import CamVidDataset
from .checked_loading import LoadCheckedAnnotations, LoadCheckedImage, check_loading
from .drawing import render_shapes
from .layout import check_data_folders
from .shapes import ShapesDataset

__all__ = [
    "CamVidDataset",
    "LoadCheckedAnnotations",
    "LoadCheckedImage",
    "ShapesDataset",
    "check_data_folders",
    "check_loading",
    "render_shapes",
]
