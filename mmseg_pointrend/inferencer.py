"""Masks of single images from a trained model."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS

from .checkpoints import load_weights
from .errors import InputError
from .segmentor import predict_only_labels
from .visualization import Explanation, explain


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
        self.model = MODELS.build(predict_only_labels(cfg).model)
        meta = load_weights(self.model, weights, allow_partial)
        self.model.to(self.device).eval()
        known = _classes_and_palette(meta.get("dataset_meta", {}), cfg.test_dataloader.dataset)
        self.classes, self.palette = known
        pipeline = cfg.test_dataloader.dataset.pipeline
        self._pipeline = Compose([t for t in pipeline if not t["type"].startswith("Load")])

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
        return explain(self.model, self._prepare(image))

    def _prepare(self, image: np.ndarray) -> dict:
        shape = image.shape[:2]
        sample = self._pipeline(
            {"img": image, "img_shape": shape, "ori_shape": shape, "img_path": "", "seg_fields": []}
        )
        return {key: [value] for key, value in sample.items()}


def _classes_and_palette(
    dataset_meta: dict, dataset_cfg: dict
) -> tuple[tuple[str, ...], list[list[int]]]:
    """Names and RGB colors of the classes, from the checkpoint if it has them, else the config."""
    known = {key.lower(): value for key, value in dataset_meta.items()}
    if not {"classes", "palette"} <= known.keys():
        known = {**DATASETS.get(dataset_cfg.type).METAINFO, **dataset_cfg.get("metainfo", {})}
    if not {"classes", "palette"} <= known.keys():
        raise InputError(
            "Neither checkpoint nor config names classes and palette; set "
            "test_dataloader.dataset.metainfo=dict(classes=..., palette=...)."
        )
    return tuple(known["classes"]), [list(color) for color in known["palette"]]
