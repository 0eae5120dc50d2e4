"""Figures of validation images on the way."""

from pathlib import Path

import mmcv
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..errors import InputError
from .explanation import explain
from .figure import explain_figure, figure_to_image


@HOOKS.register_module()
class PointVisualizationHook(Hook):
    """Draw how some validation images were rendered, and where their points fell.

    The figures go to whatever backends the config's visualizer has: files, TensorBoard, WandB.

    Args:
        interval (int): Every how many validation images one is drawn, from the first. Defaults to
            50.

    Raises:
        InputError: If ``interval`` is no whole number of at least 1.
    """

    def __init__(self, interval: int = 50) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise InputError(
                f"PointVisualizationHook.interval has to be a whole number of at least 1, not "
                f"{interval!r}."
            )
        self.interval = interval

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: list
    ) -> None:
        """Draw the first image of this batch if it is its turn."""
        if batch_idx % self.interval:
            return
        sample = outputs[0]
        image = mmcv.imread(sample.img_path)
        truth = sample.gt_sem_seg.data.squeeze(0).cpu().numpy() if "gt_sem_seg" in sample else None
        figure = explain_figure(
            image,
            explain(runner.model, data_batch),
            runner.val_dataloader.dataset.metainfo["palette"],
            truth,
        )
        runner.visualizer.add_image(
            f"points_{Path(sample.img_path).stem}",
            figure_to_image(figure)[..., ::-1],
            step=runner.iter,
        )
