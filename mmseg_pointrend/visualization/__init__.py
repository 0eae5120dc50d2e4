"""Pictures of predictions and of where their points fell."""

from .explanation import Explanation, StepPoints, explain
from .figure import explain_figure, figure_to_image
from .hook import PointVisualizationHook

__all__ = [
    "Explanation",
    "PointVisualizationHook",
    "StepPoints",
    "explain",
    "explain_figure",
    "figure_to_image",
]
