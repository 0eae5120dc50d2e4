from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmseg_pointrend import BoundaryIoUMetric
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.report.gallery import (
    BROKEN,
    CROP_SIZE,
    FIXED,
    TRANSPARENT,
    WRONG,
    Entry,
    compare,
    crops_of,
    error_map,
    keep,
    point_map,
    read_labels,
    telling_window,
    write_map,
)
from mmseg_pointrend.report.scores import Scorer

LabelMaps = Callable[[int], tuple[np.ndarray, list[np.ndarray]]]


def entry(gain: float, has_truth: bool = True) -> Entry:
    counts = np.zeros(1) if has_truth else None
    return Entry(str(gain), "0", (1, 1), [], counts, [gain], [(0, 0, 1, 1)])


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


def test_gains_and_where_they_are(label_maps: LabelMaps) -> None:
    scorer = Scorer(("a", "b", "c"), BoundaryIoUMetric(dilation_ratio=0.025))
    truth, maps = label_maps(0)
    better = compare("image.png", "0", maps, truth, scorer)
    assert better.gains[0] > better.gains[1] > 0
    assert better.classes == [0, 1]
    worse = compare("image.png", "0", maps[::-1], truth, scorer)
    assert worse.gains[0] < 0
    _, left, _, width = worse.windows[0]
    assert left <= 32 < 39 <= left + width
    assert compare("image.png", "0", [truth, truth], truth, scorer).gains == [0]


def test_without_truth_there_are_no_counts(label_maps: LabelMaps) -> None:
    scorer = Scorer(("a", "b", "c"), BoundaryIoUMetric(dilation_ratio=0.025))
    _, maps = label_maps(1)
    changed = compare("image.png", "0", maps, None, scorer)
    assert changed.counts is None
    assert changed.gains[0] == pytest.approx(100 * 5 / 64, abs=0.01)
    assert changed.classes == [0, 1, 2]


def test_errors_tell_what_became_right_wrong_or_stayed_wrong() -> None:
    truth = np.array([[0, 0, 0, 0, 255]])
    before, after = np.array([[1, 0, 1, 0, 1]]), np.array([[0, 1, 1, 0, 0]])
    expected = [[FIXED, BROKEN, WRONG, TRANSPARENT, TRANSPARENT]]
    np.testing.assert_array_equal(error_map(truth, before, after, 255), expected)


def test_points_fill_the_pixels_that_they_lie_in() -> None:
    steps = [np.array([[0.0, 0.0], [4.0, 2.0]]), np.array([[1.5, 0.5]])]
    points = point_map(steps, (2, 4))
    expected = np.full((2, 4), TRANSPARENT)
    expected[0, 0] = expected[1, 3] = 0  # at the far border the last pixel
    expected[0, 1] = 1
    np.testing.assert_array_equal(points, expected)


def test_the_window_holds_what_weighs_most() -> None:
    weight = np.zeros((300, 400))
    weight[250:260, 10:20], weight[0, 399] = 1, 5
    top, left, height, width = telling_window(weight)
    assert weight[top : top + height, left : left + width].sum() == 100
    assert telling_window(np.zeros((5, 3))) == (0, 0, 5, 3)


def test_crops_of_all_sizes_have_one_size() -> None:
    photo, labels = np.zeros((5, 3, 3), dtype=np.uint8), np.zeros((5, 3), dtype=int)
    crops = crops_of(photo, (labels, labels), [(0, 0, 0)], (0, 0, 5, 3))
    assert crops.shape == (CROP_SIZE[0], 2 * CROP_SIZE[1], 3)


@pytest.mark.parametrize("num_classes", [3, 255, 300])
def test_colors_of_label_maps(tmp_path: Path, num_classes: int) -> None:
    palette = np.random.default_rng(0).integers(0, 256, (num_classes, 3)).tolist()
    labels = np.array([[0, 2], [num_classes - 1, 1000]])
    write_map(tmp_path / "map.png", labels, palette)
    with Image.open(tmp_path / "map.png") as image:
        pixels = np.asarray(image.convert("RGBA")).tolist()
    assert pixels[0] == [[*palette[0], 255], [*palette[2], 255]]
    assert pixels[1][0] == [*palette[-1], 255]
    assert pixels[1][1][3] == 0


def test_label_maps_of_another_model_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    labels = np.array([[1, 2, 3], [3, 2, 1]], dtype=np.uint8)
    Image.fromarray(labels).save(path)
    np.testing.assert_array_equal(read_labels(path, (2, 3), 3, 1), labels - 1)
    with pytest.raises(InputError, match=r"shape \(3, 2\).*got \(2, 3\)"):
        read_labels(path, (3, 2), 3, 1)
    with pytest.raises(InputError, match=r"labels 0 to 2, got .* and 1 to 3"):
        read_labels(path, (2, 3), 3, 0)
    with pytest.raises(InputError, match=r"labels 0 to 2, got .* and -1 to 1"):
        read_labels(path, (2, 3), 3, 2)
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(path, (2, 3), 3, 1)
