"""Images and label maps as pictures to look at. Needs no PyTorch."""

from collections.abc import Sequence

import cv2
import numpy as np

VOID_COLOR = (0, 0, 0)


def as_picture(image: np.ndarray, is_bgr: bool = True) -> np.ndarray:
    """A BGR picture, (H, W, 3), uint8, of an image, (H, W) or (H, W, C), of any type.

    Shows the first three channels, blue, green and red, or red, green and blue if not ``is_bgr``,
    or the first one thrice. Other types than uint8 are scaled, each channel from its 2nd to its
    98th percentile.
    """
    bands = image.reshape(*image.shape[:2], -1)
    bands = bands[..., :3] if bands.shape[2] >= 3 else bands[..., [0, 0, 0]]
    if not is_bgr:
        bands = bands[..., ::-1]
    if bands.dtype != np.uint8:
        values = np.nan_to_num(bands.astype(np.float32), posinf=0, neginf=0)
        low, high = np.percentile(values, (2, 98), axis=(0, 1))
        bands = (255 * ((values - low) / np.maximum(high - low, 1e-12)).clip(0, 1)).astype(np.uint8)
    return np.ascontiguousarray(bands)


def colorize(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Paint class indices, (H, W), in the RGB colors of ``palette``: BGR, (H, W, 3), uint8.

    Indices without a color, such as those that are ignored, become black.
    """
    colors = np.array([*palette, VOID_COLOR], dtype=np.uint8)[:, ::-1]
    known = (labels >= 0) & (labels < len(palette))
    return colors[np.where(known, labels, len(palette))]


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], opacity: float = 0.5
) -> np.ndarray:
    """Paint a label map, (H, W), over its BGR image, (H, W, 3), uint8, with weight ``opacity``."""
    return cv2.addWeighted(image, 1 - opacity, colorize(labels, palette), opacity, 0)
