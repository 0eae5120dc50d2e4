"""A segmentor as one function of pixels, which a graph can be made of."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmseg.models import EncoderDecoder
from mmseg.models.data_preprocessor import SegDataPreProcessor
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import type_name
from ..errors import InputError
from ..inference.image_pipeline import steps_after_loading

# (height, width), of an image or, while a graph is made, symbols for them
Size = Sequence[int | torch.SymInt]


class Resize(NamedTuple):
    """How a test pipeline resizes images.

    Attributes:
        scale (tuple[int, int]): (width, height) to fit into, either way round, or to have.
        keep_ratio (bool): Whether the ratio of width and height stays.
    """

    scale: tuple[int, int]
    keep_ratio: bool

    def size(self, size: Size) -> Size:
        """(height, width) after resizing, as MMCV computes it, at least a pixel."""
        if not self.keep_ratio:
            return self.scale[::-1]
        long, short = torch.sym_max(*size), torch.sym_min(*size)
        # round(length * min(max(scale) / long, min(scale) / short)), in whole numbers
        fitting = (
            torch.sym_min(
                (2 * length * max(self.scale) + long) // (2 * long),
                (2 * length * min(self.scale) + short) // (2 * short),
            )
            for length in size
        )
        return tuple(torch.sym_max(1, length) for length in fitting)

    def resized(self, pixels: Tensor) -> Tensor:
        """Resize (B, 3, H, W) pixels as OpenCV does: no anti-aliasing, to whole numbers."""
        return _interpolate(pixels, self.size(pixels.shape[-2:])).round()


class PixelGraph(nn.Module):
    """From the pixels of images to their labels, as the model's test pipeline and segmentor do it.

    Args:
        model (EncoderDecoder): A segmentor that looks at whole images.
        resize (Resize, optional): How its test pipeline resizes images. Defaults to None: not.
        logits (bool): Whether to give the logits too. Defaults to False.

    Raises:
        InputError: If the model prepares images or predicts in a way that has no graph.
    """

    def __init__(
        self, model: EncoderDecoder, resize: Resize | None = None, logits: bool = False
    ) -> None:
        super().__init__()
        if not isinstance(model, EncoderDecoder):
            raise InputError(
                f"A {type(model).__name__} cannot be exported, only an EncoderDecoder can."
            )
        if model.test_cfg.get("mode", "whole") != "whole":
            raise InputError(
                f"test_cfg.mode={model.test_cfg.mode!r} cannot be exported: how many windows there "
                "are depends on the image. Set --cfg-options model.test_cfg.mode=whole."
            )
        if not isinstance(model.data_preprocessor, SegDataPreProcessor):
            raise InputError(
                f"A {type(model.data_preprocessor).__name__} cannot be exported; set "
                "model.data_preprocessor to a SegDataPreProcessor."
            )
        if "size" in (model.data_preprocessor.test_cfg or {}):
            raise InputError(
                "model.data_preprocessor.test_cfg.size cannot be exported; pad to a multiple, by "
                "size_divisor, or not at all."
            )
        self.model = model
        self.resize = resize
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Segment images.

        Args:
            images (Tensor): RGB images, (B, 3, H, W), uint8.

        Returns:
            Tensor | tuple[Tensor, Tensor]: Labels, (B, H, W), int64; with ``logits`` also logits,
            (B, C, H, W), float32.
        """
        size = images.shape[-2:]
        pixels = images.float()
        if self.resize is not None:
            pixels = self.resize.resized(pixels)
        network_size = pixels.shape[-2:]
        inputs = self.prepare(pixels)
        padded = tuple(inputs.shape[-2:])
        logits = self.model.encode_decode(inputs, [dict(img_shape=padded, pad_shape=padded)])
        logits = logits[..., : network_size[0], : network_size[1]].float()
        if self.resize is not None:
            logits = _interpolate(logits, size, self.model.align_corners)
        labels = self._labels(logits)
        return (labels, logits) if self.logits else labels

    def prepare(self, pixels: Tensor) -> Tensor:
        """Normalize and pad RGB pixels, (B, 3, H, W), floating point, as the data preprocessor
        does."""
        settings = self.model.data_preprocessor
        # It is handed BGR images, as OpenCV reads them.
        if not takes_rgb(settings):
            pixels = pixels.flip(1)
        if settings._enable_normalize:
            pixels = (pixels - settings.mean) / settings.std
        if not settings.test_cfg:
            return pixels
        size = pixels.shape[-2:]
        divisor = settings.test_cfg["size_divisor"]
        padded = [(length + divisor - 1) // divisor * divisor for length in size]
        right_and_bottom = (0, padded[1] - size[1], 0, padded[0] - size[0])
        return F.pad(pixels, right_and_bottom, value=settings.pad_val)

    def _labels(self, logits: Tensor) -> Tensor:
        if logits.shape[1] > 1:
            return logits.argmax(dim=1)
        return (logits.squeeze(1).sigmoid() > self.model.decode_head.threshold).long()


def resize_of(cfg: Config) -> Resize | None:
    """How the test pipeline of a config resizes images; None if it does not.

    Raises:
        InputError: If it does anything else to their pixels.
    """
    found = None
    for step in steps_after_loading(cfg):
        if type_name(step) == "PackSegInputs":
            continue
        if type_name(step) != "Resize" or "scale" not in step or found is not None:
            raise InputError(
                f"The test pipeline has the step {dict(step)}, which has no place in a graph; set "
                "test_dataloader.dataset.pipeline to one that loads, resizes once by scale and "
                "packs."
            )
        scale = step["scale"]
        scale = (scale, scale) if isinstance(scale, int) else tuple(scale)
        found = Resize(scale, step.get("keep_ratio", False))
    return found


def _interpolate(maps: Tensor, size: Size, align_corners: bool = False) -> Tensor:
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=align_corners)


def takes_rgb(preprocessor: nn.Module) -> bool:
    """Whether a data preprocessor turns the BGR images that it is handed into RGB ones."""
    # MMSegmentation's own name for it, and MMEngine's, which OneDL's MMSegmentation has
    names = ("channel_conversion", "_channel_conversion")
    return any(getattr(preprocessor, name, False) for name in names)
