"""Figures of validation images during training."""

from pathlib import Path

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..errors import InputError
from ..inference.image_pipeline import loads_bgr
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


def input_picture(data: dict, dataset: BaseDataset, size: tuple[int, int]) -> np.ndarray:
    """BGR picture, (H, W, 3), uint8, of ``size`` = (H, W), of the first image of a batch.

    It is taken from the batch, since only the pipeline can read every kind of file.
    """
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    bands = data["inputs"][0].permute(1, 2, 0).cpu().numpy()
    return cv2.resize(as_picture(bands, loads_bgr(steps)), size[::-1])
