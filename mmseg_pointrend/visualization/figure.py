"""One figure that explains a rendering, and the hook that draws it during training."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..errors import InputError
from ..inference.image_pipeline import loads_bgr
from ..inference.images import as_picture, colorize
from .explanation import Explanation, explain

PANEL_INCHES = 3  # width of a panel


@HOOKS.register_module()
class PointVisualizationHook(Hook):
    """Draw how some validation images were rendered, and where their points fell.

    The figures go to the backends of the config's visualizer. One that cannot be drawn or stored is
    left out with a warning; training goes on. Of ``interval`` validation images, by default 50, the
    first is drawn; an InputError unless that is an integer >= 1.
    """

    def __init__(self, interval: int = 50) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise InputError(
                f"PointVisualizationHook.interval must be an integer >= 1, got {interval!r}."
            )
        self.interval = interval

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: list
    ) -> None:
        """Draw the first image of this batch if it is its turn."""
        if batch_idx % self.interval:
            return
        sample, dataset = outputs[0], runner.val_dataloader.dataset
        try:
            picture = input_picture(data_batch, dataset, sample.ori_shape[:2])
            truth = sample.gt_sem_seg.data[0].cpu().numpy() if "gt_sem_seg" in sample else None
            explanation = explain(runner.model, data_batch)
            figure = explain_figure(picture, explanation, dataset.metainfo["palette"], truth)
            # MLflow's and other backends store a picture under its name, by its suffix.
            name = f"points_{Path(sample.img_path).stem}.png"
            runner.visualizer.add_image(name, figure_to_image(figure)[..., ::-1], runner.iter)
        except Exception as error:  # of the model, Matplotlib or a backend
            reason = " ".join(str(error).split()) or type(error).__name__
            runner.logger.warning(f"No picture of the points of {sample.img_path}: {reason}")


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

    ``image`` is a BGR picture, (H, W, 3), uint8, and ``truth`` the true labels, (H, W). ``palette``
    has an RGB color for each class.
    """
    image = image[..., ::-1]
    pictures = {"image": image}
    maps = {"truth": truth, "coarse": explanation.coarse, "PointRend": explanation.labels}
    for name, labels in maps.items():
        if labels is not None:
            pictures[name] = colorize(labels, palette)[..., ::-1]
    columns = len(pictures) + len(explanation.steps)
    aspect = np.clip(image.shape[0] / image.shape[1], 0.2, 3)  # that of odd images is cut
    size = (PANEL_INCHES * columns, 2 * PANEL_INCHES * aspect + 0.6)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, columns, squeeze=False)

    side = max(1, min(image.shape[:2]) // 4)
    top, left = heaviest_window(explanation.coarse != explanation.labels, (side, side))
    for (name, picture), whole, zoomed in zip(pictures.items(), upper, lower, strict=False):
        _show(whole, picture, name)
        whole.add_patch(Rectangle((left, top), side, side, fill=False, ec="#ffe500", lw=1.2))
        _show(zoomed, picture[top : top + side, left : left + side], f"{name}, zoomed")
    for number, step in enumerate(explanation.steps):
        axes = upper[len(pictures) + number]
        height, width = step.grid
        _show(axes, image // 2, f"step {number + 1}: {len(step.xy)} points of {height}×{width}")
        size = max(PANEL_INCHES * 72 / width, 1.2) ** 2  # squares of a cell, but visible
        axes.scatter(*step.xy.T - 0.5, s=size, c="#ff2d2d", marker="s", linewidths=0)
        lower[len(pictures) + number].axis("off")
    return figure


def figure_to_image(figure: Figure) -> np.ndarray:
    """Rasterize a figure of :func:`explain_figure` to a BGR image, (H, W, 3), uint8."""
    figure.canvas.draw()
    return cv2.cvtColor(np.asarray(figure.canvas.buffer_rgba()), cv2.COLOR_RGBA2BGR)


def input_picture(data: dict, dataset: BaseDataset, size: tuple[int, int]) -> np.ndarray:
    """BGR picture, (H, W, 3), uint8, of ``size`` = (H, W), of the first image of a batch."""
    # Not of its file: only the pipeline can read every kind.
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    bands = data["inputs"][0].permute(1, 2, 0).cpu().numpy()
    return cv2.resize(as_picture(bands, loads_bgr(steps)), size[::-1])


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
