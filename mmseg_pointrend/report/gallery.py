"""The images of a report: what each gained, which are kept, and their pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..inference.images import write_picture
from .pictures import (
    BROKEN,
    ERROR_COLORS,
    FIXED,
    STEP_COLORS,
    Palette,
    Window,
    crops_of,
    error_map,
    point_map,
    telling_window,
    write_map,
)
from .scores import BOUNDARY, WHOLE, Scorer, pooled_iou


class Entry(NamedTuple):
    """One image; lists have an item for each of the label maps that the last is compared with."""

    path: str
    stem: str  # beginning of the names of its pictures
    size: tuple[int, int]  # (height, width)
    classes: list[int]  # that occur
    counts: np.ndarray | None  # of all label maps, (V, R, 2, K); None without truth
    # In percent: gain in Boundary IoU over the pixels of all classes or, without truth, pixels that
    # changed; pixels that became right; pixels that became wrong.
    gains: list[float]
    fixed: list[float]
    broken: list[float]
    windows: list[Window]  # where that shows most


def compare(
    path: str,
    stem: str,
    maps: Sequence[np.ndarray],
    truth: np.ndarray | None,
    scorer: Scorer,
) -> Entry:
    """Compare the last of several label maps, (H, W), with each of the others."""
    *others, final = maps
    if truth is None:
        counts, classes = None, np.unique(maps)
        weights = [other != final for other in others]
        gains = [_percent(change) for change in weights]
        fixed = broken = [0.0] * len(others)
    else:
        counts = np.stack([scorer.count(truth, labels, path) for labels in maps])
        classes = np.flatnonzero(counts[:, WHOLE, 1].any(axis=0))
        boundary = np.nan_to_num(pooled_iou(counts[:, BOUNDARY]))
        gains = [round(float(boundary[-1] - value), 2) for value in boundary[:-1]]
        errors = [error_map(truth, other, final, scorer.ignore_index) for other in others]
        fixed, broken = ([_percent(error == kind) for error in errors] for kind in (FIXED, BROKEN))
        # of an image that lost, where it lost
        weights = [
            (1 if gain >= 0 else -1) * ((error == FIXED) - 1.0 * (error == BROKEN))
            for gain, error in zip(gains, errors, strict=True)
        ]
    windows = [telling_window(weight) for weight in weights]
    return Entry(path, stem, final.shape, classes.tolist(), counts, gains, fixed, broken, windows)


def _percent(mask: np.ndarray) -> float:
    return round(100 * float(mask.mean()), 2)


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
