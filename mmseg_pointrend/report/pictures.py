"""The pictures of a report: photos, label maps, error maps, points and the crops of the gallery."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..errors import InputError
from ..inference.images import full_palette, overlay

Palette = Sequence[Sequence[int]]
Window = tuple[int, int, int, int]  # top, left, height, width

TRANSPARENT = 255
FIXED, BROKEN, WRONG = 0, 1, 2  # right now, wrong now, wrong before and now
ERROR_COLORS = ((22, 163, 74), (220, 38, 38), (245, 158, 11))
# from the first step to the last
STEP_COLORS = ((255, 237, 74), (255, 153, 51), (255, 64, 129), (41, 182, 246), (255, 255, 255))
CROP_SIZE = (180, 240)  # (height, width) of a crop in the gallery
SMALLEST_WINDOW, WINDOW_SHARE = 48, 0.3  # of the image, in pixels and of its shorter side


def error_map(truth: np.ndarray, before: np.ndarray, after: np.ndarray, ignore: int) -> np.ndarray:
    """Where labels became right or wrong or stayed wrong, (H, W), uint8; else transparent."""
    was_wrong, is_wrong = before != truth, after != truth
    kinds = [was_wrong & ~is_wrong, ~was_wrong & is_wrong, was_wrong & is_wrong]
    errors = np.select(kinds, (FIXED, BROKEN, WRONG), TRANSPARENT).astype(np.uint8)
    errors[truth == ignore] = TRANSPARENT
    return errors


def point_map(steps: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The last step with a point in each pixel, (H, W), uint8; points are (N, 2) in pixels."""
    points = np.full(size, TRANSPARENT, dtype=np.uint8)
    for step, xy in enumerate(steps):
        column, row = np.minimum(xy.astype(int), (size[1] - 1, size[0] - 1)).T
        points[row, column] = min(step, len(STEP_COLORS) - 1)
    return points


def telling_window(weight: np.ndarray) -> Window:
    """The window with the largest sum of weights, (H, W)."""
    height = min(max(SMALLEST_WINDOW, round(WINDOW_SHARE * min(weight.shape))), weight.shape[0])
    width = min(height * CROP_SIZE[1] // CROP_SIZE[0], weight.shape[1])
    sums = cv2.boxFilter(weight.astype(np.float32), -1, (width, height), normalize=False)
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    top = np.clip(row - height // 2, 0, weight.shape[0] - height)
    left = np.clip(column - width // 2, 0, weight.shape[1] - width)
    return int(top), int(left), height, width


def crops_of(
    photo: np.ndarray, maps: Sequence[np.ndarray], palette: Palette, window: Window
) -> np.ndarray:
    """A window of label maps over the photo, side by side."""
    top, left, height, width = window
    part = np.s_[top : top + height, left : left + width]
    crops = [overlay(photo[part], labels[part], palette) for labels in maps]
    crops = [cv2.resize(crop, CROP_SIZE[::-1], interpolation=cv2.INTER_NEAREST) for crop in crops]
    return np.hstack(crops)


def write_map(path: Path, labels: np.ndarray, palette: Palette) -> None:
    """Write a label map as PNG; labels without a color become transparent."""
    known = (labels >= 0) & (labels < len(palette))
    if len(palette) > TRANSPARENT:
        colors = np.array([(*color, 255) for color in palette] + [(0, 0, 0, 0)], dtype=np.uint8)
        Image.fromarray(colors[np.where(known, labels, len(palette))]).save(path)
        return
    image = Image.fromarray(np.where(known, labels, TRANSPARENT).astype(np.uint8))
    image.putpalette(full_palette(palette).tobytes())
    image.save(path, transparency=TRANSPARENT, optimize=True)


def read_labels(path: Path, size: tuple[int, int], num_classes: int, offset: int) -> np.ndarray:
    """Read labels, (*size), that ``tools/test.py --out`` wrote with ``offset`` added to them.

    Raises:
        InputError: If the file cannot be read, or has another size or other labels.
    """
    try:
        with Image.open(path) as image:
            labels = np.asarray(image).astype(np.int64) - offset
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read as labels ({error}); --against needs a folder that "
            "tools/test.py --out wrote for these images."
        ) from error
    if labels.shape != tuple(size):
        raise InputError(
            f"{path}: shape must be {tuple(size)} (height, width), got {labels.shape}; give what "
            "tools/test.py --out wrote for these images."
        )
    for label in (labels.min(), labels.max()):
        if not 0 <= label < num_classes:
            raise InputError(
                f"{path}: labels must be 0 to {num_classes - 1}, got {label}; give predictions of "
                "a model with the same classes."
            )
    return labels
