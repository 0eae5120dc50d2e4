"""BoundaryIoUMetric against one class at a time with the authors' mask_to_boundary."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.registry import METRICS

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.evaluation.boundary_iou_metric import BoundaryIoUMetric

CAMVID = Path(__file__).parents[2] / "data" / "camvid"
WIDTHS = (1, 2, 4, 8, 16)


def build(num_classes, **kwargs):
    metric = BoundaryIoUMetric(**kwargs)
    metric.dataset_meta = dict(classes=[f"class {index}" for index in range(num_classes)])
    return metric


def evaluate(pairs, num_classes, **kwargs):
    """Results of the metric over (truth, prediction) pairs of arrays (H, W)."""
    metric = build(num_classes, **kwargs)
    for truth, pred in pairs:
        metric.process({}, [sample(truth, pred)])
    return metric.evaluate(len(pairs))


def sample(truth, pred, **meta):
    return dict(
        pred_sem_seg=dict(data=torch.as_tensor(pred)[None]),
        gt_sem_seg=dict(data=torch.as_tensor(truth)[None]),
        **meta,
    )


def mask_to_boundary(mask, void, dilation):
    """The authors' function, with void pixels let into the mask while it is eroded."""
    padded = np.pad(mask | void, 1).astype(np.uint8)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=dilation)
    return mask & (eroded[1:-1, 1:-1] == 0)


def true_band(truth, void, width):
    """Pixels with a true pixel of another class within chessboard distance ``width``."""
    band = np.zeros(truth.shape, dtype=bool)
    for index in np.unique(truth[~void]):
        other = ~void & (truth != index)
        if other.any():
            away = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_C, 3)
            band |= (truth == index) & (away <= width)
    return band


def count_by_class(truth, pred, num_classes, distance, ignore_index):
    """Intersections and unions, (1 + number of widths, 2, K), one class at a time."""
    void = truth == ignore_index
    bands = [true_band(truth, void, width) for width in WIDTHS]
    counts = np.zeros((1 + len(bands), 2, num_classes), dtype=int)
    for index in range(num_classes):
        masks = [(labels == index) & ~void for labels in (truth, pred)]
        pairs = [[mask_to_boundary(mask, void, distance) for mask in masks]]
        pairs += [[mask & band for mask in masks] for band in bands]
        counts[:, :, index] = [((a & b).sum(), (a | b).sum()) for a, b in pairs]
    return counts


def assert_equals_one_class_at_a_time(pairs, num_classes, distances, ignore_index, **kwargs):
    metric = build(num_classes, ignore_index=ignore_index, **kwargs)
    for (truth, pred), distance in zip(pairs, distances, strict=True):
        metric.process({}, [sample(truth, pred)])
        expected = count_by_class(truth, pred, num_classes, distance, ignore_index)
        np.testing.assert_array_equal(metric.results[-1].numpy(), expected)

    intersection, union = sum(result.numpy() for result in metric.results).swapaxes(0, 1)
    results = metric.evaluate(len(pairs))
    assert len(results) == len(intersection)
    for value, row, total in zip(results.values(), intersection, union, strict=True):
        ious = row[total > 0] / total[total > 0]
        mean = 100 * ious.mean() if ious.size else math.nan
        assert value == pytest.approx(mean, abs=0.00501, nan_ok=True)
    return results


def authors_dilation(shape, ratio=0.005):
    return max(1, round(ratio * np.sqrt(shape[0] ** 2 + shape[1] ** 2)))


@st.composite
def data_sets(draw):
    """A few (truth, prediction) pairs of any size: blobs or noise, more or less in agreement."""
    num_classes = draw(st.sampled_from([1, 2, 5, 254, 255, 300]))
    ignore_index = draw(st.sampled_from([255, 400, 0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # The first and the last class always take part: those at the ends of the dtype's range.
    classes = np.array([0, num_classes - 1, *rng.integers(0, num_classes, 3)])
    pairs = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.integers(1, 40)), draw(st.integers(1, 40))
        grain = draw(st.sampled_from([1, 3, 8]))
        noise = rng.choice(classes, shape)
        truth = np.kron(noise, np.ones((grain, grain), dtype=int))[: shape[0], : shape[1]]
        wrong = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.9]))
        pred = np.where(wrong, rng.choice(classes, shape), truth)
        truth[rng.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.8, 1.0]))] = ignore_index
        pairs.append((truth, pred))
    return pairs, num_classes, ignore_index


@settings(max_examples=60, deadline=None)
@given(data_sets(), st.sampled_from([0.005, 0.02, 0.05, 0.1, 1.0]))
def test_equals_one_class_at_a_time(data_set, ratio):
    pairs, num_classes, ignore_index = data_set
    distances = [authors_dilation(truth.shape, ratio) for truth, _ in pairs]
    assert_equals_one_class_at_a_time(
        pairs, num_classes, distances, ignore_index, dilation_ratio=ratio
    )


@pytest.mark.parametrize(("kwargs", "distance"), [({}, 3), (dict(dilation_ratio=0.02), 12)])
def test_equals_one_class_at_a_time_on_camvid(kwargs, distance):
    paths = sorted(CAMVID.glob("annotations/val/*.png"))[::25]
    if not paths:
        pytest.skip("CamVid is not at data/camvid")
    pairs = []
    for path in paths:
        truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.int64)
        # A prediction as a coarse grid makes it: right inside of objects, blocky at boundaries.
        coarse = truth[4::8, 4::8].repeat(8, axis=0).repeat(8, axis=1)
        pairs.append((truth, np.where(coarse == 11, 1, coarse)))
    results = assert_equals_one_class_at_a_time(pairs, 11, [distance] * len(pairs), 11, **kwargs)
    assert 10 < results["mBIoU"] < 90


def test_results_stay_near_the_boundary():
    """An error inside an object is as bad as it is large for IoU, and nothing for Boundary IoU."""
    truth = np.zeros((64, 64), dtype=np.int64)
    truth[:, 32:] = 1
    pred = truth.copy()
    pred[20:24, 10:14] = 1
    results = evaluate([(truth, pred)], 2, trimap_widths=(1, 16))
    assert results["mIoU_1px"] == 100
    assert results["mIoU_16px"] == 100
    # Both maps share the rim of each half. The prediction alone has a contour at the spot: 12 of
    # its 16 pixels are rim, and so are the 20 around it.
    rim = 2 * 64 + 2 * 30
    zero, one = rim / (rim + 20), rim / (rim + 12)
    assert results["mBIoU"] == pytest.approx(100 * (zero + one) / 2, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(data_sets(), st.sampled_from([0.005, 0.05, 0.2]))
def test_right_at_every_scored_pixel_is_100(data_set, ratio):
    pairs, num_classes, ignore_index = data_set
    rng = np.random.default_rng(0)
    perfect = [
        # What is predicted at ignored pixels may be anything, even a label that does not exist.
        (truth, np.where(truth == ignore_index, rng.integers(-9, 999, truth.shape), truth))
        for truth, _ in pairs
    ]
    results = evaluate(perfect, num_classes, dilation_ratio=ratio, ignore_index=ignore_index)
    scored = any((truth != ignore_index).any() for truth, _ in pairs)
    assert results["mBIoU"] == 100 or (not scored and math.isnan(results["mBIoU"]))
    assert all(value == 100 or math.isnan(value) for value in results.values())


def test_mask_that_ends_at_void_has_no_contour_there():
    truth = np.full((40, 40), 255)
    truth[10:30, 10:30] = 0
    metric = build(2, dilation_ratio=0.05)
    metric.process({}, [sample(truth, np.ones_like(truth))])
    assert metric.results[0].sum() == 0


def test_image_border_makes_a_contour_and_no_band():
    truth = np.zeros((20, 30), dtype=np.int64)
    metric = build(2, dilation_ratio=0.05)
    metric.process({}, [sample(truth, truth)])
    counts = metric.results[0]
    assert counts[0].tolist() == [[20 * 30 - 16 * 26, 0]] * 2
    assert counts[1:].sum() == 0


def test_data_set_with_one_class():
    truth = np.zeros((20, 30), dtype=np.int64)
    results = evaluate([(truth, truth)], 1)
    assert results.pop("mBIoU") == 100
    assert all(math.isnan(value) for value in results.values())


@pytest.mark.parametrize("images", [0, 1, 3])
@pytest.mark.filterwarnings("error")
def test_nothing_to_score_is_nan(images):
    truth = np.full((20, 30), 255)
    results = evaluate([(truth, np.zeros_like(truth))] * images, 4)
    assert list(results) == ["mBIoU", *(f"mIoU_{width}px" for width in WIDTHS)]
    assert all(math.isnan(value) for value in results.values())


def test_an_image_without_scored_pixels_changes_nothing():
    truth = np.arange(600).reshape(20, 30) // 7 % 3
    pred = np.roll(truth, 1)
    void = np.full_like(truth, 255)
    assert evaluate([(truth, pred), (void, pred)], 3) == evaluate([(truth, pred)], 3)


def test_absent_class_is_nan_in_the_table_and_not_in_the_mean(monkeypatch):
    printed = []
    monkeypatch.setattr(
        "mmseg_pointrend.evaluation.boundary_iou_metric.print_log",
        lambda message, logger: printed.append(message),
    )
    truth = np.zeros((20, 30), dtype=np.int64)
    truth[:, 15:] = 2
    results = evaluate([(truth, truth)], 3, trimap_widths=(1,))
    assert results == {"mBIoU": 100, "mIoU_1px": 100}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed[-1].split("\n")]
    assert ["Class", "BIoU", "IoU_1px"] in rows
    assert ["class 0", "100.0", "100.0"] in rows
    assert ["class 1", "nan", "nan"] in rows


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32, torch.float16])
def test_dtypes_of_predictions(dtype):
    """A binary head with one channel predicts 0 and 1 in the dtype of its logits."""
    truth = torch.zeros(20, 30, dtype=torch.int64)
    truth[:, 15:] = 1
    truth[5] = 255
    pred = truth.roll(2, dims=1).clamp(max=1)
    expected = evaluate([(truth, pred)], 2)
    assert expected["mBIoU"] < 100
    assert evaluate([(truth, pred.to(dtype))], 2) == expected
    assert evaluate([(truth.to(torch.uint8), pred)], 2) == expected


def test_names_and_order_of_widths():
    truth = np.zeros((20, 30), dtype=np.int64)
    metric = METRICS.build(dict(type="BoundaryIoUMetric", trimap_widths=[8, 1, 8], prefix="val"))
    metric.dataset_meta = dict(classes=["a"])
    metric.process({}, [sample(truth, truth)])
    assert list(metric.evaluate(1)) == ["val/mBIoU", "val/mIoU_1px", "val/mIoU_8px"]
    assert list(evaluate([(truth, truth)], 1, trimap_widths=())) == ["mBIoU"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(dilation_ratio=0), r"dilation_ratio must be in \(0, 1\]"),
        (dict(dilation_ratio=math.nan), r"dilation_ratio must be in \(0, 1\]"),
        (dict(trimap_widths=(1, 0)), "trimap_widths must be integers >= 1"),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(InputError, match=message):
        BoundaryIoUMetric(**kwargs)


@pytest.mark.parametrize(
    ("truth", "pred", "message"),
    [
        (
            np.zeros((4, 5), int),
            np.zeros((4, 6), int),
            r"street.png: .* the same size, got \(4, 6\) and \(4, 5\)",
        ),
        (
            np.full((4, 5), 3),
            np.zeros((4, 5), int),
            "street.png: the truth must have labels 0 to 2, got 3",
        ),
        (
            np.zeros((4, 5), int),
            np.full((4, 5), 255),
            "street.png: the prediction must have labels 0 to 2, got 255",
        ),
        (
            np.zeros((4, 5), int),
            np.full((4, 5), -1),
            "street.png: the prediction must have labels 0 to 2, got -1",
        ),
        (
            np.zeros((4, 5), int),
            np.full((4, 5), np.nan),
            "street.png: the prediction must have labels 0 to 2, got nan",
        ),
    ],
)
def test_bad_input(truth, pred, message):
    metric = build(3)
    with pytest.raises(InputError, match=message) as error:
        metric.process({}, [sample(truth, pred, img_path="street.png")])
    assert "\n" not in str(error.value)


def random_pairs():
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(0, 3, (2, 20, 30))) for _ in range(3)]


def evaluate_on_rank(rank, store, queue):
    """Three images on two ranks, the first one repeated to fill up, as the sampler does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    pairs = random_pairs()
    for collect_device in ("cpu", "gpu"):
        metric = build(3, collect_device=collect_device)
        for truth, pred in [*pairs, pairs[0]][rank::2]:
            metric.process({}, [sample(truth, pred)])
        queue.put(metric.evaluate(len(pairs)))
    dist.destroy_process_group()


def test_distributed_evaluation_equals_one_process(tmp_path):
    # forked, so that they need not import PyTorch again; CUDA does not survive that
    method = "spawn" if torch.cuda.is_available() else "fork"
    queue = mp.get_context(method).SimpleQueue()
    arguments = (tmp_path / "store", queue)
    mp.start_processes(evaluate_on_rank, arguments, nprocs=2, start_method=method)
    expected = evaluate(random_pairs(), 3)
    assert [queue.get() for _ in range(4)] == [expected] * 4
