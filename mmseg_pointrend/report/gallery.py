"""The images of a report: what each gained, which are kept, and their pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

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
    write_photo,
)
from .scores import BOUNDARY, Scorer, pooled_iou


class Entry(NamedTuple):
    """One image; lists have an item for each of the label maps that the last is compared with.

    Attributes:
        path (str): Path of the image.
        stem (str): Beginning of the names of its pictures.
        size (tuple[int, int]): (height, width) in pixels.
        classes (list[int]): Classes that occur.
        counts (np.ndarray, optional): Of all label maps, (V, R, 2, K); None without truth.
        gains (list[float]): Gain in Boundary IoU over the pixels of all classes; without truth the
            share of the pixels that changed. In percent, as are the next two.
        fixed (list[float]): Pixels that became right.
        broken (list[float]): Pixels that became wrong.
        windows (list[Window]): Where that shows most.
    """

    path: str
    stem: str
    size: tuple[int, int]
    classes: list[int]
    counts: np.ndarray | None
    gains: list[float]
    fixed: list[float]
    broken: list[float]
    windows: list[Window]


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
        changes = [other != final for other in others]
        return Entry(
            path,
            stem,
            final.shape,
            classes=np.unique(maps).tolist(),
            counts=None,
            gains=[_percent(change) for change in changes],
            fixed=[0.0] * len(others),
            broken=[0.0] * len(others),
            windows=[telling_window(change) for change in changes],
        )
    counts = np.stack([scorer.count(truth, labels, path) for labels in maps])
    boundary = np.nan_to_num(pooled_iou(counts[:, BOUNDARY]))
    gains = [round(float(boundary[-1] - value), 2) for value in boundary[:-1]]
    errors = [error_map(truth, other, final, scorer.ignore_index) for other in others]
    # of an image that lost, where it lost
    weights = [
        (1 if gain >= 0 else -1) * ((error == FIXED) - 1.0 * (error == BROKEN))
        for gain, error in zip(gains, errors, strict=True)
    ]
    return Entry(
        path,
        stem,
        final.shape,
        classes=np.flatnonzero(counts[:, 0, 1].any(axis=0)).tolist(),
        counts=counts,
        gains=gains,
        fixed=[_percent(error == FIXED) for error in errors],
        broken=[_percent(error == BROKEN) for error in errors],
        windows=[telling_window(weight) for weight in weights],
    )


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

    write_photo(path("photo.jpg"), photo)
    for k, labels in enumerate(maps):
        write_map(path(f"labels{k}.png"), labels, palette)
    for k, other in enumerate(maps[:-1]):
        pair = (other, maps[-1])
        write_photo(path(f"crop{k}.jpg"), crops_of(photo, pair, palette, entry.windows[k]))
        if truth is not None:
            errors = error_map(truth, *pair, ignore_index)
            write_map(path(f"errors{k}.png"), errors, ERROR_COLORS)
    if truth is not None:
        write_map(path("truth.png"), truth, palette)
    if steps:
        write_map(path("points.png"), point_map(steps, entry.size), STEP_COLORS)
