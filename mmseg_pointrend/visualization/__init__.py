"""Pictures of predictions and of where their points fell."""

from ..inference.images import colorize, overlay
from .explanation import Explanation, StepPoints, explain
from .figure import explain_figure, figure_to_image
from .hook import PointVisualizationHook

__all__ = [
    "Explanation",
    "PointVisualizationHook",
    "StepPoints",
    "colorize",
    "explain",
    "explain_figure",
    "figure_to_image",
    "overlay",
]
