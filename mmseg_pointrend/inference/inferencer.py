"""Masks of images from a trained or an exported model."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .images import Segmentation
from .inputs import Source, each_image

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..visualization.explanation import Explanation

Image = Source | dict  # a file, an array, or what a predictor has loaded


class PointRendInferencer:
    """Segments images with a trained model, or with an exported one and without PyTorch.

    It may be called from several threads at once. An image is an array, (H, W, 3), BGR, uint8, or
    (H, W) or (H, W, C) if the config loads such images. The methods raise an InputError for an
    image that cannot be read, is none of these or does not fit into memory, and for results that
    the model does not have.

    Args:
        model (str | Path | Config): Name of a model of our zoo, a config file, a config, or an
            exported model, '*.onnx'.
        weights (str | Path, optional): Checkpoint file. Defaults to None: published weights of a
            model of the zoo, fetched once; an exported model has its own.
        device (str, optional): Device to run on. Defaults to None: a GPU if there is one.
        dtype (str): Type of weights and features: 'float32', 'bfloat16' or 'float16'. Defaults to
            'float32'.
        channels_last (bool): Whether features are laid out pixel by pixel. Defaults to False.
        allow_partial (bool): Whether to go on if the checkpoint lacks weights. Defaults to False.
        trust_checkpoint (bool): Whether to run code that the checkpoint carries. Defaults to False.
        overrides (dict, optional): Settings to change in the config, nested keys with dots.
            Defaults to None.

    Attributes:
        classes (tuple[str, ...]): Names of the classes.
        palette (list[list[int]]): RGB color of each class.

    Raises:
        InputError: If there is no such model, its weights cannot be read or do not fit, or an
            option is not for an exported model.
    """

    def __init__(
        self,
        model: "str | PathLike | Config",
        weights: str | PathLike | None = None,
        device: str | None = None,
        dtype: str = "float32",
        channels_last: bool = False,
        allow_partial: bool = False,
        trust_checkpoint: bool = False,
        overrides: dict | None = None,
    ) -> None:
        if is_exported(model):
            partial = allow_partial or trust_checkpoint
            if weights or dtype != "float32" or channels_last or partial or overrides:
                raise InputError(f"{model}: an exported model takes no option but the device.")
            from .onnx_model import OnnxModel

            self.predictor = OnnxModel(model, device)
        else:
            cfg, weights = _config_and_weights(model, weights, overrides)
            from .torch_model import TorchModel

            self.predictor = TorchModel(
                cfg, weights, device, dtype, channels_last, allow_partial, trust_checkpoint
            )
        self.classes, self.palette = self.predictor.classes, self.predictor.palette

    def __call__(
        self, images: Source | Iterable[Source], batch_size: int = 1, logits: bool = False
    ) -> list[Segmentation]:
        """Segment images as :meth:`iterate` does, and keep all results."""
        return [*self.iterate(images, batch_size, logits)]

    def iterate(
        self, images: Source | Iterable[Source], batch_size: int = 1, logits: bool = False
    ) -> Iterator[Segmentation]:
        """Segment images one after the other; no more are read than make up a batch.

        Args:
            images (str | Path | np.ndarray | Iterable): A file, a folder, a glob pattern, a video,
                an array, or any number of these.
            batch_size (int): Images of one size that are predicted together. Defaults to 1.
            logits (bool): Whether to give the logits too. Defaults to False.
        """
        check_batch_size(batch_size)
        sources = each_image(images, self.predictor.suffix)
        while batch := [*islice(sources, batch_size)]:
            yield from self.segment_batch(batch, logits)

    def segment_batch(self, images: Sequence[Image], logits: bool = False) -> list[Segmentation]:
        """Segment images, neighbors of one size together; see :meth:`iterate`."""
        results: list[Segmentation] = []
        # Those of one size alone: padding would change what a network sees, and so the labels.
        for _, same in groupby(map(self._load, images), key=lambda image: image["img"].shape):
            results += self.predictor.segment_batch([*same], logits)
        return results

    def segment(self, image: Image) -> np.ndarray:
        """Label every pixel of an image: class indices, (H, W), int64."""
        return self.segment_batch([image])[0].labels

    def explain(self, image: Image) -> "Explanation":
        """Label an image and tell what the coarse head saw and where the points fell."""
        return self.predictor.explain(self._load(image))

    def _load(self, image: Image) -> dict:
        return image if isinstance(image, dict) else self.predictor.load(image)


def is_exported(model: object) -> bool:
    """Whether a model is the path of an exported one, which needs no PyTorch."""
    return isinstance(model, str | PathLike) and Path(model).suffix.lower() == ".onnx"


def check_batch_size(batch_size: int) -> None:
    """Raise InputError unless a batch size is an integer >= 1."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size must be an integer >= 1, got {batch_size!r}.")


def _config_and_weights(
    model: "str | PathLike | Config", weights: str | PathLike | None, overrides: dict | None
) -> "tuple[Config, str | PathLike]":
    if not isinstance(model, str | PathLike):
        if overrides or weights is None:
            raise InputError("A Config needs weights and takes no overrides; change it itself.")
        return model, weights
    from ..checkpoints.zoo import fetch_weights, find_config
    from ..config import read_config

    cfg = read_config(find_config(model), overrides)
    return cfg, fetch_weights(str(model)) if weights is None else weights
