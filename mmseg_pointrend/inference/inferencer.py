"""Masks of images from a trained or an exported model."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .inputs import Source, check_array, each_image
from .progress import progress_bar
from .segmentation import Segmentation

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..visualization import Explanation
    from .onnx_model import OnnxModel


class PointRendInferencer:
    """Segments images with a trained model, or with an exported one and without PyTorch.

    It may be called from several threads at once.

    Args:
        model (str | Path | Config): Name of a model of our zoo, such as
            'pointrend_r50_cityscapes', path of a config file, a config, or path of an exported
            model, '*.onnx'.
        weights (str | Path, optional): Checkpoint file. Defaults to None: the published weights of
            a model of the zoo, fetched once; an exported model has its own.
        device (str, optional): Device to run on. Defaults to None: a GPU if there is one.
        dtype (str): Type of weights and features: 'float32', 'bfloat16' or 'float16'. Defaults to
            'float32'.
        channels_last (bool): Whether features are laid out pixel by pixel. Defaults to False.
        compile (bool): Whether to compile the network with ``torch.compile``, which takes minutes.
            Defaults to False.
        allow_partial (bool): Whether to go on if the checkpoint lacks weights. Defaults to False.
        trust_checkpoint (bool): Whether to run code that the checkpoint carries. Defaults to False.
        overrides (dict, optional): Settings to change in the config, nested keys with dots:
            ``{"model.decode_head.renderer.subdivision_num_points": 512}``. Defaults to None.

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
        compile: bool = False,
        allow_partial: bool = False,
        trust_checkpoint: bool = False,
        overrides: dict | None = None,
    ) -> None:
        if is_exported(model):
            settings = {
                "weights": weights is not None,
                "dtype": dtype != "float32",
                "channels_last": channels_last,
                "compile": compile,
                "allow_partial": allow_partial,
                "trust_checkpoint": trust_checkpoint,
                "overrides": bool(overrides),
            }
            given = [name for name, is_given in settings.items() if is_given]
            self.predictor = _exported_model(model, device, given)
        else:
            cfg, weights = _config_and_weights(model, weights, overrides)
            from .torch_model import TorchModel

            self.predictor = TorchModel(
                cfg,
                weights,
                device,
                dtype=dtype,
                channels_last=channels_last,
                compile=compile,
                allow_partial=allow_partial,
                trust=trust_checkpoint,
            )
        self.classes, self.palette = tuple(self.predictor.classes), self.predictor.palette

    def __call__(
        self,
        images: Source | Iterable[Source],
        batch_size: int = 1,
        logits: bool = False,
        points: bool = False,
        progress: bool = True,
    ) -> list[Segmentation]:
        """Segment images and keep all results; see :meth:`iterate` for many.

        Args:
            images (str | Path | np.ndarray | Iterable): A file, a folder, a glob pattern, an array
                as OpenCV reads it, (H, W, 3), BGR, uint8, or any number of these.
            batch_size (int): Images of one size that are predicted together. Defaults to 1.
            logits (bool): Whether to give the logits too. Defaults to False.
            points (bool): Whether to give the points of each rendering step too. Defaults to False.
            progress (bool): Whether to show a progress bar on stderr if rich is installed. Defaults
                to True.

        Returns:
            list[Segmentation]: The segmentation of each image, in their order.

        Raises:
            InputError: If an image cannot be read or is none, or the model has no such result.
        """
        # what a folder or a pattern holds shows on the way
        is_counted = isinstance(images, list | tuple) and all(
            isinstance(image, np.ndarray) for image in images
        )
        total = len(images) if is_counted else None
        results = []
        with progress_bar(total, progress) as bar:
            for result in self.iterate(images, batch_size, logits, points):
                results.append(result)
                bar.advance()
        return results

    def iterate(
        self,
        images: Source | Iterable[Source],
        batch_size: int = 1,
        logits: bool = False,
        points: bool = False,
    ) -> Iterator[Segmentation]:
        """Segment images one after the other.

        No more images are read than make up a batch, and no result is kept.

        Args:
            images (str | Path | np.ndarray | Iterable): As :meth:`__call__` takes them.
            batch_size (int): Images of one size that are predicted together. Defaults to 1.
            logits (bool): Whether to give the logits too. Defaults to False.
            points (bool): Whether to give the points of each rendering step too. Defaults to False.

        Yields:
            Segmentation: The segmentation of each image, in their order.

        Raises:
            InputError: If an image cannot be read or is none, or the model has no such result.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size={batch_size!r} is no number of images, 1 or more.")
        arrays = each_image(images)
        while batch := [*islice(arrays, batch_size)]:
            yield from self.segment_batch(batch, logits, points)

    def segment_batch(
        self, images: Sequence[np.ndarray], logits: bool = False, points: bool = False
    ) -> list[Segmentation]:
        """Segment arrays, those of one size together.

        Args:
            images (Sequence[np.ndarray]): BGR images, (H, W, 3), uint8, of any sizes.
            logits (bool): Whether to give the logits too. Defaults to False.
            points (bool): Whether to give the points of each rendering step too. Defaults to False.

        Returns:
            list[Segmentation]: The segmentation of each image, in their order.

        Raises:
            InputError: If an array is no such image, does not fit into memory, or the model has no
                such result.
        """
        for image in images:
            check_array(image)
        results: dict[int, Segmentation] = {}
        # Those of one size alone: padding would change what a network sees, and so the labels.
        for shape in dict.fromkeys(image.shape for image in images):
            same = [k for k, image in enumerate(images) if image.shape == shape]
            found = self.predictor.segment_batch([images[k] for k in same], logits)
            results.update(zip(same, found, strict=True))
        if points:
            for k, image in enumerate(images):
                results[k].points = self._points(image)
        return [results[k] for k in range(len(images))]

    def segment(self, image: np.ndarray) -> np.ndarray:
        """Label every pixel of an image.

        Args:
            image (np.ndarray): BGR image, (H, W, 3), uint8, as OpenCV reads it.

        Returns:
            np.ndarray: Class indices, (H, W), int64.

        Raises:
            InputError: If the array is no such image or does not fit into memory.
        """
        return self.segment_batch([image])[0].labels

    @property
    def can_explain(self) -> bool:
        """Whether the model can tell its points: an exported one cannot."""
        return hasattr(self.predictor, "explain")

    def explain(self, image: np.ndarray) -> "Explanation":
        """Label an image and tell what the coarse head saw and where the points fell.

        Args:
            image (np.ndarray): BGR image, (H, W, 3), uint8.

        Returns:
            Explanation: Coarse labels, points of each step, final labels.

        Raises:
            InputError: If the model has no :class:`PointRendHead`, or is an exported one.
        """
        check_array(image)
        if not self.can_explain:
            raise InputError("An exported model keeps its points to itself; use its checkpoint.")
        return self.predictor.explain(image)

    def _points(self, image: np.ndarray) -> list[np.ndarray]:
        height, width = image.shape[:2]
        size = np.array([width, height], dtype=np.float32)
        return [step.xy / size for step in self.explain(image).steps]


def is_exported(model: object) -> bool:
    """Whether a model is the path of an exported one, which needs no PyTorch."""
    return isinstance(model, str | PathLike) and Path(model).suffix.lower() == ".onnx"


def _exported_model(model: str | PathLike, device: str | None, settings: list[str]) -> "OnnxModel":
    if settings:
        raise InputError(f"{model} is an exported model, which takes no {', '.join(settings)}.")
    from .onnx_model import OnnxModel

    return OnnxModel(model, device)


def _config_and_weights(
    model: "str | PathLike | Config", weights: str | PathLike | None, overrides: dict | None
) -> "tuple[Config, str | PathLike]":
    try:
        import mmseg  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{model}: without PyTorch and MMSegmentation there are exported models alone, *.onnx."
        ) from error
    if not isinstance(weights, str | PathLike | None):
        raise InputError(f"weights is the path of a checkpoint, not a {type(weights).__name__}.")
    if not isinstance(overrides, dict | None):
        raise InputError(f"overrides is a dict of settings, not a {type(overrides).__name__}.")
    from ..checkpoints.zoo import fetch_weights, find_config
    from ..config import read_config

    if isinstance(model, str | PathLike):
        cfg = read_config(find_config(model), overrides)
        return cfg, fetch_weights(str(model)) if weights is None else weights
    if overrides or weights is None:
        raise InputError("A Config needs weights and takes no overrides; change it itself.")
    return model, weights
