"""The images of a report: what each gained, which are kept, and their pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from ..errors import InputError
from ..inference.images import overlay, write_picture
from ..visualization.figure import heaviest_window
from .scores import BOUNDARY, WHOLE, Scorer, iou

Palette = Sequence[Sequence[int]]
Window = tuple[int, int, int, int]  # top, left, height, width

TRANSPARENT = 255
FIXED, BROKEN, WRONG = 0, 1, 2  # right now, wrong now, wrong before and now
ERROR_COLORS = ((22, 163, 74), (220, 38, 38), (245, 158, 11))
# from the first step to the last
STEP_COLORS = ((255, 237, 74), (255, 153, 51), (255, 64, 129), (41, 182, 246), (255, 255, 255))
CROP_SIZE = (180, 240)  # (height, width) of a crop in the gallery
SMALLEST_WINDOW, WINDOW_SHARE = 48, 0.3  # of the image, in pixels and of its shorter side


class Entry(NamedTuple):
    """One image; lists have an item for each of the label maps that the last is compared with."""

    path: str
    stem: str  # beginning of the names of its pictures
    size: tuple[int, int]  # (height, width)
    classes: list[int]  # that occur
    counts: np.ndarray | None  # of all label maps, (V, R, 2, K); None without truth
    # In percent: gain in Boundary IoU over the pixels of all classes or, without truth, pixels that
    # changed
    gains: list[float]
    windows: list[Window]  # where that shows most


def compare(
    path: str, stem: str, maps: Sequence[np.ndarray], truth: np.ndarray | None, scorer: Scorer
) -> Entry:
    """Compare the last of several label maps, (H, W), with each of the others."""
    *others, final = maps
    if truth is None:
        counts, classes = None, np.unique(maps)
        weights = [other != final for other in others]
        gains = [round(100 * float(change.mean()), 2) for change in weights]
    else:
        counts = np.stack([scorer.count(truth, labels, path) for labels in maps])
        classes = np.flatnonzero(counts[:, WHOLE, 1].any(axis=0))
        pooled = np.nan_to_num(iou(counts[:, BOUNDARY].sum(axis=-1, keepdims=True)))[:, 0]
        gains = [round(float(pooled[-1] - value), 2) for value in pooled[:-1]]
        errors = [error_map(truth, other, final, scorer.ignore_index) for other in others]
        # of an image that lost, where it lost
        weights = [
            (1 if gain >= 0 else -1) * ((error == FIXED) - 1.0 * (error == BROKEN))
            for gain, error in zip(gains, errors, strict=True)
        ]
    windows = [telling_window(weight) for weight in weights]
    return Entry(path, stem, final.shape, classes.tolist(), counts, gains, windows)


def keep(kept: list[Entry], entry: Entry, limit: int) -> list[Entry]:
    """The most telling of some entries and one more, sorted by gain, at most ``limit``."""
    kept = sorted([*kept, entry], key=lambda other: other.gains[0])
    if len(kept) > limit:
        # Both ends are telling; without truth, what changed least is not.
        kept.pop(0 if entry.counts is None else limit // 2)
    return kept


def write_pictures(
    folder: Path,
    entry: Entry,
    photo: np.ndarray,
    maps: Sequence[np.ndarray],
    truth: np.ndarray | None,
    steps: Sequence[np.ndarray],
    palette: Palette,
    ignore_index: int,
) -> None:
    """Write the pictures of an image: photo, label maps, crops, error maps, truth and points."""

    def path(name: str) -> Path:
        return folder / f"{entry.stem}-{name}"

    write_picture(path("photo.jpg"), photo)
    for k, labels in enumerate(maps):
        write_map(path(f"labels{k}.png"), labels, palette)
    for k, other in enumerate(maps[:-1]):
        pair = (other, maps[-1])
        write_picture(path(f"crop{k}.jpg"), crops_of(photo, pair, palette, entry.windows[k]))
        if truth is not None:
            errors = error_map(truth, *pair, ignore_index)
            write_map(path(f"errors{k}.png"), errors, ERROR_COLORS)
    if truth is not None:
        write_map(path("truth.png"), truth, palette)
    if steps:
        write_map(path("points.png"), point_map(steps, entry.size), STEP_COLORS)


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
    """The window of a crop with the largest sum of weights, (H, W)."""
    height = min(max(SMALLEST_WINDOW, round(WINDOW_SHARE * min(weight.shape))), weight.shape[0])
    width = min(height * CROP_SIZE[1] // CROP_SIZE[0], weight.shape[1])
    return *heaviest_window(weight, (height, width)), height, width


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
    colors = np.array([*((*color, 255) for color in palette), (0, 0, 0, 0)], dtype=np.uint8)
    known = (labels >= 0) & (labels < len(palette))
    Image.fromarray(colors[np.where(known, labels, len(palette))]).save(path)


def read_labels(path: Path, size: tuple[int, int], num_classes: int, offset: int) -> np.ndarray:
    """Read labels, (*size), that ``tools/test.py --out`` wrote with ``offset`` added to them; an
    InputError if that cannot be, or they are others."""
    try:
        with Image.open(path) as image:
            labels = np.asarray(image).astype(np.int64) - offset
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read as labels ({error}); --against needs a folder that "
            "tools/test.py --out wrote for these images."
        ) from error
    if labels.shape != tuple(size) or labels.min() < 0 or labels.max() >= num_classes:
        raise InputError(
            f"{path}: must have the shape {tuple(size)} (height, width) and labels 0 to "
            f"{num_classes - 1}, got {labels.shape} and {labels.min()} to {labels.max()}; give "
            "what tools/test.py --out wrote for these images with a model of the same classes."
        )
    return labels
