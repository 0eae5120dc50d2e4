"""One figure that explains a rendering."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..inferencer import Explanation
from .overlay import colorize

POINT_COLOR = "#ff2d2d"
ZOOM_COLOR = "#ffffff"
# Share of the image's shorter side that the zoomed window has.
ZOOM_SHARE = 0.25


def explain_figure(
    image: np.ndarray,
    explanation: Explanation,
    palette: Sequence[Sequence[int]],
    truth: np.ndarray | None = None,
    columns: int | None = None,
) -> Figure:
    """Draw how a prediction came about.

    Panels: image, truth if there is one, coarse labels, the points of each step over the image, the
    final labels; then the place that the rendering changed most, zoomed: image, truth, coarse,
    final.

    Args:
        image (np.ndarray): BGR image, (H, W, 3), uint8.
        explanation (Explanation): What :meth:`PointRendInferencer.explain` found.
        palette (Sequence[Sequence[int]]): RGB color of each class.
        truth (np.ndarray, optional): True labels, (H, W). Defaults to None.
        columns (int, optional): Panels of a row. Defaults to None: the panels of the whole image in
            one row, those of the zoom in a second.

    Returns:
        Figure: A Matplotlib figure, drawn without a display.
    """
    box = most_changed_window(explanation.coarse, explanation.labels)
    maps = {"image": image[..., ::-1]}
    if truth is not None:
        maps["truth"] = colorize(truth, palette)[..., ::-1]
    maps["coarse"] = colorize(explanation.coarse, palette)[..., ::-1]
    maps["PointRend"] = colorize(explanation.labels, palette)[..., ::-1]

    whole = len(maps) + len(explanation.steps)
    columns = columns or whole
    zoom_row = math.ceil(whole / columns)
    rows = zoom_row + math.ceil(len(maps) / columns)
    height, width = image.shape[:2]
    figure = Figure(figsize=(3 * columns, 3 * rows * height / width + 0.3 * rows), dpi=110)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02)
    FigureCanvasAgg(figure)
    panels = iter([figure.add_subplot(rows, columns, k + 1) for k in range(zoom_row * columns)])

    for name, picture in maps.items():
        axes = next(panels)
        _show(axes, picture, name)
        axes.add_patch(Rectangle((box[0], box[1]), box[2], box[3], fill=False, ec=ZOOM_COLOR, lw=1))
    for number, step in enumerate(explanation.steps, start=1):
        axes = next(panels)
        _show(
            axes,
            image[..., ::-1] // 2,
            f"step {number}: {len(step.xy)} points of {_size(step.grid)}",
        )
        # a cell of the grid is this many points of 1/72 inch wide in the picture
        cell = 3 * 72 / step.grid[1]
        axes.scatter(
            *step.xy.T - 0.5, s=max(cell, 0.6) ** 2, c=POINT_COLOR, marker="s", linewidths=0
        )
    for axes in panels:
        axes.axis("off")

    x, y, w, h = box
    for k, (name, picture) in enumerate(maps.items()):
        axes = figure.add_subplot(rows, columns, zoom_row * columns + k + 1)
        _show(axes, picture[y : y + h, x : x + w], f"{name}, zoomed")
    return figure


def figure_to_image(figure: Figure) -> np.ndarray:
    """Rasterize a figure of :func:`explain_figure` to a BGR image, (H, W, 3), uint8."""
    figure.canvas.draw()
    return cv2.cvtColor(np.asarray(figure.canvas.buffer_rgba()), cv2.COLOR_RGBA2BGR)


def most_changed_window(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """The square window in which two label maps, (H, W), differ at most pixels: x, y, width,
    height."""
    height, width = before.shape
    side = max(1, round(ZOOM_SHARE * min(height, width)))
    changed = cv2.integral((before != after).astype(np.uint8))
    sums = (
        changed[side:, side:]
        - changed[:-side, side:]
        - changed[side:, :-side]
        + changed[:-side, :-side]
    )
    y, x = np.unravel_index(np.argmax(sums), sums.shape)
    return int(x), int(y), side, side


def _show(axes: Axes, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=8, pad=2)
    axes.set_xticks([])
    axes.set_yticks([])


def _size(grid: tuple[int, int]) -> str:
    return f"{grid[0]}×{grid[1]}"
