"""Pictures of predictions and of where their points fell."""

from .figure import explain_figure, figure_to_image
from .overlay import colorize, overlay

__all__ = ["colorize", "explain_figure", "figure_to_image", "overlay"]
