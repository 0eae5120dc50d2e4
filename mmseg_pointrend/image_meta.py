"""What the meta information of an image says about where its pixels went."""

import torch
from torch import Tensor

from .errors import InputError
from .rendering import Window

# Dimensions of an (H, W) map that MMCV's RandomFlip turns round.
FLIPPED = {"horizontal": (1,), "vertical": (0,), "diagonal": (0, 1)}


def input_size(img_meta: dict) -> tuple[int, int]:
    """(height, width) of what went into the network, padding included."""
    # A sliding window leaves its own size, a torch.Size, in img_shape.
    if "pad_shape" in img_meta and not isinstance(img_meta["img_shape"], torch.Size):
        return tuple(img_meta["pad_shape"][:2])
    return tuple(img_meta["img_shape"][:2])


def unpadded(img_meta: dict, size: tuple[int, int]) -> Window:
    """The part of a network input of ``size`` = (H, W) that is no padding."""
    padding = img_meta.get("img_padding_size", img_meta.get("padding_size", (0, 0, 0, 0)))
    left, right, top, bottom = padding
    return Window(top, left, size[0] - top - bottom, size[1] - left - right)


def unflipped(labels: Tensor, img_meta: dict) -> Tensor:
    """Undo the flip of an image on its (H, W) labels.

    Raises:
        InputError: If it was flipped in an unknown direction.
    """
    if not img_meta.get("flip"):
        return labels
    direction = img_meta.get("flip_direction")
    if direction not in FLIPPED:
        raise InputError(
            f"An image is flipped, flip_direction={direction!r}; known are {', '.join(FLIPPED)}."
        )
    return labels.flip(FLIPPED[direction])
