"""Data sets: CamVid from files, and shapes that need none."""

from .camvid import CamVidDataset
from .drawing import render_shapes
from .layout import check_data_folders
from .shapes import ShapesDataset

__all__ = ["CamVidDataset", "ShapesDataset", "check_data_folders", "render_shapes"]
