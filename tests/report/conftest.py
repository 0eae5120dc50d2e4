from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmseg_pointrend import BoundaryIoUMetric
from mmseg_pointrend.report.gallery import Entry, compare, keep, write_pictures
from mmseg_pointrend.report.page import write_page
from mmseg_pointrend.report.scores import Scorer

SIZE = (48, 64)
NAMES = ("Coarse head", "Other model", "PointRend")
RUN = {"Config": "configs/some_config.py", "Checkpoint": "work_dirs/iter_1.pth", "Data": "drawn"}


@pytest.fixture
def label_maps() -> Callable[[int], tuple[np.ndarray, list[np.ndarray]]]:
    """Truth and three label maps of classes 0, 1 and, in odd images, 2.

    In the first two, the 7 and the 3 first columns of class 1 are wrong; in the last, 2 more with
    each image: it gains in images 0 to 3 and loses in 4 to 7 against the first.
    """

    def make(index: int) -> tuple[np.ndarray, list[np.ndarray]]:
        truth = np.zeros(SIZE, dtype=np.int64)
        truth[:, 32:] = 1
        if index % 2:
            truth[36:, 4:16] = 2
        maps = [truth.copy() for _ in NAMES]
        for labels, width in zip(maps, (7, 3, 2 * index), strict=True):
            labels[:, 32 : 32 + width] = 0
        return truth, maps

    return make


@pytest.fixture
def make_report(tmp_path: Path, label_maps: Callable) -> Callable[..., Path]:
    """Write a report of eight drawn images and return its folder."""

    def make(
        classes: tuple[str, ...] = ("background", "wall", "door"),
        image_name: str = "image{}.png",
        has_truth: bool = True,
    ) -> Path:
        folder = tmp_path / "report"
        (folder / "images").mkdir(parents=True)
        palette = np.random.default_rng(1).integers(0, 256, (len(classes), 3)).tolist()
        scorer = Scorer(classes, BoundaryIoUMetric(dilation_ratio=0.025))
        kept: list[Entry] = []
        for index in range(8):
            truth, maps = label_maps(index)
            truth = truth if has_truth else None
            entry = compare(image_name.format(index), f"0_{index}", maps, truth, scorer)
            kept = keep(kept, entry, 100)
            photo = np.full((*SIZE, 3), 40 + 20 * index, dtype=np.uint8)
            points = [np.array([[32.5, 8.5], [33.5, 9.5]])]
            pictures = folder / "images"
            write_pictures(pictures, entry, photo, maps, truth, points, palette, 255)
        write_page(folder, NAMES, classes, palette, kept, kept[::-1], 1, RUN, "model = dict()")
        return folder

    return make
