"""A segmentor as one function from pixels to labels, which a graph can be made of."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmseg.models import EncoderDecoder
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import type_name
from ..errors import InputError
from ..inference.image_pipeline import loading_obstacle, split_pipeline
from ..rendering.dense import resize as interpolate

# (height, width), of an image or, while a graph is made, symbols for them
Size = Sequence[int | torch.SymInt]


class Resize(NamedTuple):
    """How a test pipeline resizes images."""

    scale: tuple[int, int]  # (width, height); with keep_ratio the largest size, either way round
    keep_ratio: bool

    def size(self, size: Size) -> Size:
        """(height, width) after resizing, at least 1, as MMCV computes it."""
        if not self.keep_ratio:
            return self.scale[::-1]
        long, short = torch.sym_max(*size), torch.sym_min(*size)
        # round(length * min(max(scale) / long, min(scale) / short)), in integers
        fitting = (
            torch.sym_min(
                (2 * length * max(self.scale) + long) // (2 * long),
                (2 * length * min(self.scale) + short) // (2 * short),
            )
            for length in size
        )
        return tuple(torch.sym_max(1, length) for length in fitting)

    def resized(self, pixels: Tensor) -> Tensor:
        """Resize (B, 3, H, W) pixels as OpenCV does: no anti-aliasing, rounded."""
        return interpolate(pixels, self.size(pixels.shape[-2:]), align_corners=False).round()


class PixelGraph(nn.Module):
    """From pixels to labels: what the test pipeline, the data preprocessor and the model do.

    Raises an InputError if model or preprocessor do what a graph cannot express.
    """

    def __init__(
        self, model: EncoderDecoder, resize: Resize | None = None, logits: bool = False
    ) -> None:
        super().__init__()
        preprocessor = model.data_preprocessor
        if model.test_cfg.get("mode", "whole") != "whole":
            raise InputError(
                f"model.test_cfg.mode must be 'whole' for an export, got {model.test_cfg.mode!r}; "
                "set --cfg-options model.test_cfg.mode=whole."
            )
        if "size" in (preprocessor.test_cfg or {}):
            raise InputError(
                "model.data_preprocessor.test_cfg must pad by size_divisor for an export, got "
                f"size={preprocessor.test_cfg['size']}."
            )
        self.model, self.resize, self.logits = model, resize, logits

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Labels, (B, H, W), int64, of RGB images, (B, 3, H, W), uint8; with ``logits`` also
        these, (B, C, H, W), float32."""
        pixels = images.float()
        if self.resize is not None:
            pixels = self.resize.resized(pixels)
        inputs = self.prepare(pixels)
        padded = tuple(inputs.shape[-2:])
        logits = self.model.encode_decode(inputs, [dict(img_shape=padded, pad_shape=padded)])
        logits = logits[..., : pixels.shape[-2], : pixels.shape[-1]].float()
        if self.resize is not None:
            logits = interpolate(logits, images.shape[-2:], self.model.align_corners)
        if logits.shape[1] > 1:
            labels = logits.argmax(dim=1)
        else:
            labels = (logits.squeeze(1).sigmoid() > self.model.decode_head.threshold).long()
        return (labels, logits) if self.logits else labels

    def prepare(self, pixels: Tensor) -> Tensor:
        """Normalize and pad RGB pixels, (B, 3, H, W), float32, as the data preprocessor does."""
        settings = self.model.data_preprocessor
        # It takes BGR and may convert to RGB; OneDL's MMSegmentation has the second name.
        names = ("channel_conversion", "_channel_conversion")
        if not any(getattr(settings, name, False) for name in names):
            pixels = pixels.flip(1)
        if settings._enable_normalize:
            pixels = (pixels - settings.mean) / settings.std
        if not settings.test_cfg:
            return pixels
        size, divisor = pixels.shape[-2:], settings.test_cfg["size_divisor"]
        bottom, right = ((n + divisor - 1) // divisor * divisor - n for n in size)
        return F.pad(pixels, (0, right, 0, bottom), value=settings.pad_val)


def resize_of(cfg: Config) -> Resize | None:
    """How the test pipeline of a config resizes images; None if it does not.

    Raises an InputError if it does what a graph cannot express.
    """
    if obstacle := loading_obstacle(cfg):
        raise InputError(
            f"An exported model takes RGB images of 8 bits, but the test pipeline loads with "
            f"{obstacle}, which may give others; tools/predict.py reads them with the checkpoint."
        )
    found = None
    for step in split_pipeline(cfg)[1]:
        kind = type_name(step)
        if kind == "Resize" and "scale" in step and found is None:
            scale = step["scale"]
            scale = (scale, scale) if isinstance(scale, int) else tuple(scale)
            found = Resize(scale, step.get("keep_ratio", False))
        elif kind != "PackSegInputs":
            raise InputError(
                "The test pipeline must only load, resize once by scale and pack for an export, "
                f"got the step {dict(step)}; change test_dataloader.dataset.pipeline."
            )
    return found
