"""Label maps in color, with NumPy and OpenCV alone."""

from collections.abc import Sequence

import cv2
import numpy as np

VOID_COLOR = (0, 0, 0)


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
    """Paint a label map over its image.

    Args:
        image (np.ndarray): BGR image, (H, W, 3), uint8.
        labels (np.ndarray): Class indices, (H, W).
        palette (Sequence[Sequence[int]]): RGB color of each class.
        opacity (float): Weight of the colors. Defaults to 0.5.

    Returns:
        np.ndarray: BGR image, (H, W, 3), uint8.
    """
    return cv2.addWeighted(image, 1 - opacity, colorize(labels, palette), opacity, 0)
