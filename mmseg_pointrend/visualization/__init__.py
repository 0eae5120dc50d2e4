"""Pictures of predictions and of where their points fell."""

from .explanation import Explanation, StepPoints, explain
from .figure import explain_figure, figure_to_image
from .hook import PointVisualizationHook
from .overlay import colorize, overlay

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
