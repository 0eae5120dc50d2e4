"""From a coarse map to a full-resolution one."""

from .dense import DenseRenderer, RenderStep
from .sparse import SparseRenderer

__all__ = ["DenseRenderer", "RenderStep", "SparseRenderer"]
