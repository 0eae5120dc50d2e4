"""Strides of a model's maps, and a warning about images whose size they do not divide."""

import logging
from collections.abc import Sequence

from mmengine.logging import print_log
from torch import Tensor, nn

from ..point_features import as_levels

LARGEST_STRIDE = 64  # no backbone of MMSegmentation goes further


def warn_once_if_misaligned(segmentor: nn.Module) -> None:
    """Have a segmentor say in one line if it sees images that its strides do not divide.

    A side of 360 pixels has 22.5 cells at stride 16. The network computes 23, and resizing them to
    360 pixels moves everything by up to half a cell (docs/alignment.md).
    """

    def check(_: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor | Sequence) -> None:
        height, width = inputs[0].shape[-2:]
        divisor = max(stride_of((height, width), level.shape[-2:]) for level in as_levels(outputs))
        if height % divisor or width % divisor:
            hook.remove()
            print_log(
                f"Images of {width}x{height} pixels are no multiple of the model's stride "
                f"{divisor}, which moves boundaries. Set "
                f"model.data_preprocessor.test_cfg=dict(size_divisor={divisor}).",
                logger="current",
                level=logging.WARNING,
            )

    hook = segmentor.backbone.register_forward_hook(check)


def stride_of(size: Sequence[int], map_size: Sequence[int]) -> int:
    """The stride of a map by its and the image's (H, W), rounded up; a power of two if possible."""
    strides = [
        stride
        for stride in range(1, LARGEST_STRIDE + 1)
        if all(-(-length // stride) == cells for length, cells in zip(size, map_size, strict=True))
    ]
    powers = [stride for stride in strides if stride.bit_count() == 1]
    return next(iter(powers or strides), max(1, round(size[1] / map_size[1])))
