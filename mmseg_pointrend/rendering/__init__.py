"""From a coarse map to a full-resolution one."""

from .dense import DenseRenderer, RenderStep

__all__ = ["DenseRenderer", "RenderStep"]
