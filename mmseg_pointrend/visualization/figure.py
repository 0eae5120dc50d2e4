"""One figure that explains a rendering."""

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..inference.images import colorize
from .explanation import Explanation

# Width of a panel, and between which shares of it its height stays for odd images.
PANEL_INCHES = 3
PANEL_ASPECTS = (0.2, 3)
POINT_COLOR = "#ff2d2d"
ZOOM_COLOR = "#ffe500"
# Side of the smallest square that is drawn for a point, in points of 1/72 inch.
SMALLEST_POINT = 1.2
# Share of the image's shorter side that the zoomed window has.
ZOOM_SHARE = 0.25


def explain_figure(
    image: np.ndarray,
    explanation: Explanation,
    palette: Sequence[Sequence[int]],
    truth: np.ndarray | None = None,
) -> Figure:
    """Draw how a prediction came about.

    The upper row shows the image, the truth if there is one, the labels of the coarse head, the
    final ones, and the points of each step over the image; the lower row, zoomed, the square that
    the rendering changed most.

    Args:
        image (np.ndarray): BGR picture of the image, (H, W, 3), uint8; see ``as_picture``.
        explanation (Explanation): What :func:`explain` found.
        palette (Sequence[Sequence[int]]): RGB color of each class.
        truth (np.ndarray, optional): True labels, (H, W). Defaults to None.
    """
    image = image[..., ::-1]
    pictures = {"image": image}
    maps = {"truth": truth, "coarse": explanation.coarse, "PointRend": explanation.labels}
    for name, labels in maps.items():
        if labels is not None:
            pictures[name] = colorize(labels, palette)[..., ::-1]
    columns = len(pictures) + len(explanation.steps)
    aspect = np.clip(image.shape[0] / image.shape[1], *PANEL_ASPECTS)
    size = (PANEL_INCHES * columns, 2 * PANEL_INCHES * aspect + 0.6)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, columns, squeeze=False)

    side = max(1, round(ZOOM_SHARE * min(image.shape[:2])))
    top, left = heaviest_window(explanation.coarse != explanation.labels, (side, side))
    for (name, picture), whole, zoomed in zip(pictures.items(), upper, lower, strict=False):
        _show(whole, picture, name)
        whole.add_patch(Rectangle((left, top), side, side, fill=False, ec=ZOOM_COLOR, lw=1.2))
        _show(zoomed, picture[top : top + side, left : left + side], f"{name}, zoomed")
    for number, step in enumerate(explanation.steps):
        axes = upper[len(pictures) + number]
        height, width = step.grid
        _show(axes, image // 2, f"step {number + 1}: {len(step.xy)} points of {height}×{width}")
        size = max(PANEL_INCHES * 72 / width, SMALLEST_POINT) ** 2
        axes.scatter(*step.xy.T - 0.5, s=size, c=POINT_COLOR, marker="s", linewidths=0)
        lower[len(pictures) + number].axis("off")
    return figure


def figure_to_image(figure: Figure) -> np.ndarray:
    """Rasterize a figure of :func:`explain_figure` to a BGR image, (H, W, 3), uint8."""
    figure.canvas.draw()
    return cv2.cvtColor(np.asarray(figure.canvas.buffer_rgba()), cv2.COLOR_RGBA2BGR)


def heaviest_window(weight: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """Top and left of the window of ``size`` = (height, width) with the largest sum of weights."""
    height, width = size
    total = cv2.integral(weight.astype(np.float32))
    rows = total[height:] - total[:-height]
    sums = rows[:, width:] - rows[:, :-width]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return int(top), int(left)


def _show(axes: Axes, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=8, pad=2)
    axes.set_xticks([])
    axes.set_yticks([])
