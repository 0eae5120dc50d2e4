import numpy as np
import pytest
import torch

from mmseg_pointrend import BoundaryIoUMetric
from mmseg_pointrend.report.scores import BOUNDARY, DISTANCES, WHOLE, Scorer, by_distance, iou

CLASSES = ("a", "b", "c")


def random_maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 3, (6, 8)), np.ones((7, 7), dtype=int))
    labels = np.where(rng.random(truth.shape) < 0.2, rng.integers(0, 3, truth.shape), truth)
    truth[:5, :9] = 255
    return truth, labels


def test_iou_of_whole_images_is_that_of_the_scored_pixels() -> None:
    truth, labels = random_maps(0)
    counts = Scorer(CLASSES, BoundaryIoUMetric()).count(truth, labels, "image")
    for k in range(3):
        both = ((truth == k) & (labels == k)).sum()
        either = (((truth == k) | (labels == k)) & (truth != 255)).sum()
        assert iou(counts[WHOLE])[k] == pytest.approx(100 * both / either)


def test_boundary_iou_is_that_of_the_metric() -> None:
    truth, labels = random_maps(1)
    metric = BoundaryIoUMetric(dilation_ratio=0.04)
    metric.dataset_meta = {"classes": CLASSES}
    sample = {
        "gt_sem_seg": {"data": torch.from_numpy(truth)[None]},
        "pred_sem_seg": {"data": torch.from_numpy(labels)[None]},
    }
    metric.process({}, [sample])
    expected = metric.compute_metrics(metric.results)["mBIoU"]
    counts = Scorer(CLASSES, metric).count(truth, labels, "image")
    assert iou(counts[BOUNDARY]).mean() == pytest.approx(expected, abs=0.005)


def test_rings_are_parts_of_the_image_that_do_not_overlap() -> None:
    truth = np.zeros((20, 100), dtype=int)
    truth[:, 50:] = 1
    labels = truth.copy()
    labels[:, 52:54] = 0  # at distances 3 and 4
    counts = Scorer(CLASSES, BoundaryIoUMetric()).count(truth, labels, "image")
    rings = dict(by_distance(counts[None]))
    assert [*rings] == ["1", "2", "3–4", "5–8", "9–16", "17–32", ">32"]
    wrong = {name for name, (value,) in rings.items() if value < 100}
    assert wrong == {"3–4"}
    assert len(counts) == 2 + len(DISTANCES)


def test_rings_count_the_same_classes_for_all_maps() -> None:
    truth = np.zeros((20, 100), dtype=int)
    truth[:, 50:] = 1
    wrong = truth.copy()
    wrong[:, 10] = 2  # far from the boundary, where the truth has no such class
    scorer = Scorer(CLASSES, BoundaryIoUMetric())
    counts = np.stack([scorer.count(truth, labels, "image") for labels in (truth, wrong)])
    before, after = dict(by_distance(counts))[">32"]
    assert before == 100
    assert after == pytest.approx(100 * (1 - 1 / 17 / 2), abs=0.5)


def test_classes_that_do_not_occur_are_left_out() -> None:
    truth = np.zeros((8, 8), dtype=int)
    counts = Scorer(CLASSES, BoundaryIoUMetric()).count(truth, truth, "image")
    np.testing.assert_array_equal(iou(counts[WHOLE]), (100, np.nan, np.nan))
    assert np.isnan(dict(by_distance(counts[None]))["1"][0])  # no boundary at all
