"""Masks of single images from a trained model."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS
from torch import Tensor

from .checkpoints import load_weights
from .decode_head import PointRendHead
from .errors import InputError
from .points import cell_coords


class StepPoints(NamedTuple):
    """Where one step of a rendering placed its points.

    Attributes:
        grid (tuple[int, int]): (height, width) of the step's grid.
        xy (np.ndarray): Points in pixels of the image, (N, 2), float32, the least certain first.
    """

    grid: tuple[int, int]
    xy: np.ndarray


class Explanation(NamedTuple):
    """A prediction and how it came about.

    Attributes:
        coarse (np.ndarray): Labels of the coarse head alone, (H, W), int64.
        steps (list[StepPoints]): The points of each step.
        labels (np.ndarray): Labels of the rendering, (H, W), int64.
    """

    coarse: np.ndarray
    steps: list[StepPoints]
    labels: np.ndarray


class PointRendInferencer:
    """Segments images with a trained model.

    Args:
        cfg (Config): Config of the model; its test pipeline prepares the images.
        weights (str | Path): Checkpoint file.
        device (str, optional): Device to run on. Defaults to None: a GPU if there is one.
        allow_partial (bool): Whether to go on if the checkpoint lacks weights. Defaults to False.

    Attributes:
        classes (tuple[str, ...]): Names of the classes.
        palette (list[list[int]]): RGB color of each class.

    Raises:
        InputError: If the checkpoint cannot be read or does not fit the model.
    """

    def __init__(
        self,
        cfg: Config,
        weights: str | Path,
        device: str | None = None,
        allow_partial: bool = False,
    ) -> None:
        init_default_scope(cfg.get("default_scope", "mmseg"))
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model = MODELS.build(cfg.model)
        meta = load_weights(self.model, weights, allow_partial)
        self.model.to(self.device).eval()
        # Checkpoints of MMEngine know their classes; a bare state dict leaves it to the config.
        known = {key.lower(): value for key, value in meta.get("dataset_meta", {}).items()}
        if not {"classes", "palette"} <= known.keys():
            known = DATASETS.get(cfg.test_dataloader.dataset.type).METAINFO
        self.classes = tuple(known["classes"])
        self.palette = [list(color) for color in known["palette"]]
        self._pipeline = Compose([t for t in cfg.test_pipeline if not t["type"].startswith("Load")])

    def segment(self, image: np.ndarray) -> np.ndarray:
        """Label every pixel of an image.

        Args:
            image (np.ndarray): BGR image, (H, W, 3), uint8, as OpenCV reads it.

        Returns:
            np.ndarray: Class indices, (H, W), int64.
        """
        with torch.no_grad():
            sample = self.model.test_step(self._prepare(image))[0]
        return sample.pred_sem_seg.data.squeeze(0).long().cpu().numpy()

    def explain(self, image: np.ndarray) -> Explanation:
        """Label an image and tell what the coarse head saw and where the points fell.

        Args:
            image (np.ndarray): BGR image, (H, W, 3), uint8.

        Returns:
            Explanation: Coarse labels, points of each step, final labels.

        Raises:
            InputError: If the model has no :class:`PointRendHead`.
        """
        head = self.model.decode_head
        if not isinstance(head, PointRendHead):
            raise InputError(f"A {type(head).__name__} has no points to show; use a PointRendHead.")
        data = self.model.data_preprocessor(self._prepare(image), training=False)
        meta = data["data_samples"][0].metainfo
        with torch.no_grad():
            features = self.model.extract_feat(data["inputs"])
            coarse_logits = head.coarse_logits(features)
            size = tuple(data["inputs"].shape[-2:])
            logits, steps = coarse_logits, []
            for logits, index in head.renderer.steps(
                coarse_logits, head.fine_features(features), head.point_head, size
            ):
                grid = tuple(logits.shape[-2:])
                steps.append(StepPoints(grid, _image_points(index[0], grid, size, meta)))
            return Explanation(
                self._labels(coarse_logits, size, data["data_samples"]),
                steps,
                self._labels(logits, size, data["data_samples"]),
            )

    def _prepare(self, image: np.ndarray) -> dict:
        shape = image.shape[:2]
        sample = self._pipeline(
            {"img": image, "img_shape": shape, "ori_shape": shape, "img_path": "", "seg_fields": []}
        )
        return {key: [value] for key, value in sample.items()}

    def _labels(self, logits: Tensor, size: tuple[int, int], data_samples: list) -> np.ndarray:
        logits = torch.nn.functional.interpolate(
            logits, size=size, mode="bilinear", align_corners=self.model.align_corners
        )
        sample = self.model.postprocess_result(logits, data_samples)[0]
        return sample.pred_sem_seg.data.squeeze(0).long().cpu().numpy()


def _image_points(
    index: Tensor, grid: tuple[int, int], size: tuple[int, int], meta: dict
) -> np.ndarray:
    """Cells of a grid over the padded network input, in pixels of the original image."""
    left, _, top, _ = meta.get("img_padding_size", meta.get("padding_size", (0, 0, 0, 0)))
    (height, width), (ori_height, ori_width) = meta["img_shape"][:2], meta["ori_shape"][:2]
    xy = cell_coords(index, grid).cpu().numpy() * (size[1], size[0]) - (left, top)
    return (xy * (ori_width / width, ori_height / height)).astype(np.float32)
