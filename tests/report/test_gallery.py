from collections.abc import Callable

import numpy as np
import pytest

from mmseg_pointrend import BoundaryIoUMetric
from mmseg_pointrend.report.gallery import Entry, compare, keep
from mmseg_pointrend.report.scores import Scorer

LabelMaps = Callable[[int], tuple[np.ndarray, list[np.ndarray]]]


def entry(gain: float, has_truth: bool = True) -> Entry:
    counts = np.zeros(1) if has_truth else None
    return Entry(str(gain), "0", (1, 1), [], counts, [gain], [0.0], [0.0], [(0, 0, 1, 1)])


@pytest.mark.parametrize("limit", [1, 2, 5, 30])
def test_both_ends_are_kept_whatever_the_order(limit: int) -> None:
    gains = np.random.default_rng(limit).permutation(20)
    kept: list[Entry] = []
    for gain in gains:
        kept = keep(kept, entry(float(gain)), limit)
    low = limit // 2
    expected = range(20) if limit >= 20 else [*range(low), *range(20 - (limit - low), 20)]
    assert [other.gains[0] for other in kept] == [*expected]


def test_without_truth_what_changed_most_is_kept() -> None:
    kept: list[Entry] = []
    for change in (3.0, 1.0, 2.0):
        kept = keep(kept, entry(change, has_truth=False), 2)
    assert [other.gains[0] for other in kept] == [2, 3]


def test_gains_fixes_and_where_they_are(label_maps: LabelMaps) -> None:
    scorer = Scorer(("a", "b", "c"), BoundaryIoUMetric(dilation=2))
    truth, maps = label_maps(0)
    better = compare("image.png", "0", maps, truth, scorer)
    assert better.gains[0] > better.gains[1] > 0
    assert better.fixed == [
        pytest.approx(100 * 7 / 64, abs=0.01),
        pytest.approx(100 * 3 / 64, abs=0.01),
    ]
    assert better.broken == [0, 0]
    assert better.classes == [0, 1]
    worse = compare("image.png", "0", maps[::-1], truth, scorer)
    assert worse.gains[0] < 0
    assert worse.broken[0] == better.fixed[0]
    _, left, _, width = worse.windows[0]
    assert left <= 32 < 39 <= left + width
    assert compare("image.png", "0", [truth, truth], truth, scorer).gains == [0]


def test_without_truth_there_are_no_counts(label_maps: LabelMaps) -> None:
    scorer = Scorer(("a", "b", "c"), BoundaryIoUMetric(dilation=2))
    _, maps = label_maps(1)
    changed = compare("image.png", "0", maps, None, scorer)
    assert changed.counts is None
    assert changed.gains[0] == pytest.approx(100 * 5 / 64, abs=0.01)
    assert changed.classes == [0, 1, 2]
