"""Images and label maps as pictures to look at. Needs no PyTorch."""

from collections.abc import Sequence

import cv2
import numpy as np

VOID_COLOR = (0, 0, 0)


def as_picture(image: np.ndarray, is_bgr: bool = True) -> np.ndarray:
    """Three bands of any image.

    Args:
        image (np.ndarray): (H, W) or (H, W, C), of any type.
        is_bgr (bool): Whether its first three bands are blue, green and red rather than red, green
            and blue. Defaults to True.

    Returns:
        np.ndarray: BGR, (H, W, 3), uint8: the first three bands, or the first one thrice. Other
        types than uint8 are scaled, each band from its 2nd to its 98th percentile.
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
    """Paint a label map.

    Args:
        labels (np.ndarray): Class indices, (H, W), integers. Indices without a color, such as those
            that are ignored, become black.
        palette (Sequence[Sequence[int]]): RGB color of each class.

    Returns:
        np.ndarray: BGR image, (H, W, 3), uint8.
    """
    colors = np.array([*palette, VOID_COLOR], dtype=np.uint8)[:, ::-1]
    known = (labels >= 0) & (labels < len(palette))
    return colors[np.where(known, labels, len(palette))]


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], opacity: float = 0.5
) -> np.ndarray:
    """Paint a label map, (H, W), over its BGR image, (H, W, 3), uint8, with weight ``opacity``."""
    return cv2.addWeighted(image, 1 - opacity, colorize(labels, palette), opacity, 0)
