"""Figures of validation images during training."""

from pathlib import Path

import cv2
import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..errors import InputError
from ..inference.images import as_picture
from .explanation import explain
from .figure import explain_figure, figure_to_image


@HOOKS.register_module()
class PointVisualizationHook(Hook):
    """Draw how some validation images were rendered, and where their points fell.

    The figures go to the backends of the config's visualizer. One that cannot be drawn or stored is
    left out with a warning; training goes on.

    Args:
        interval (int): Every how many validation images one is drawn, from the first. Defaults to
            50.

    Raises:
        InputError: If ``interval`` is not an integer >= 1.
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
        sample = outputs[0]
        try:
            figure = self._figure(runner, data_batch, sample)
            # MLflow's and other backends store a picture under its name, by its suffix.
            name = f"points_{Path(sample.img_path).stem}.png"
            runner.visualizer.add_image(name, figure, step=runner.iter)
        except Exception as error:  # of the model, Matplotlib or a backend
            reason = " ".join(str(error).split()) or type(error).__name__
            runner.logger.warning(f"No picture of the points of {sample.img_path}: {reason}")

    def _figure(self, runner: Runner, data_batch: dict, sample) -> np.ndarray:
        """The figure as an RGB image, (H, W, 3), uint8."""
        dataset = runner.val_dataloader.dataset
        steps = getattr(getattr(dataset, "pipeline", None), "transforms", ())
        is_bgr = all(getattr(step, "imdecode_backend", None) != "tifffile" for step in steps)
        # What the model sees, since only the pipeline can read every kind of file.
        bands = data_batch["inputs"][0].permute(1, 2, 0).cpu().numpy()
        picture = cv2.resize(as_picture(bands, is_bgr), sample.ori_shape[1::-1])
        truth = sample.gt_sem_seg.data.squeeze(0).cpu().numpy() if "gt_sem_seg" in sample else None
        explanation = explain(runner.model, data_batch)
        figure = explain_figure(picture, explanation, dataset.metainfo["palette"], truth)
        return figure_to_image(figure)[..., ::-1]
