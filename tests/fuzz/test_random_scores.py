"""BoundaryIoUMetric, alone and shared among processes."""

import numpy as np
from hypothesis import strategies as st
from test_boundary_iou_metric import (
    assert_equals_one_class_at_a_time,
    authors_dilation,
    build,
    data_sets,
    sample,
)

from .examples import holds_for

DataSet = tuple[list[tuple[np.ndarray, np.ndarray]], int, int]


@holds_for(100, data_sets(), st.floats(0.0001, 1))
def test_counts_with_a_share_of_the_diagonal(data_set: DataSet, ratio: float) -> None:
    pairs, num_classes, ignore_index = data_set
    distances = [authors_dilation(truth.shape, ratio) for truth, _ in pairs]
    assert_equals_one_class_at_a_time(
        pairs, num_classes, distances, ignore_index, dilation_ratio=ratio
    )


@holds_for(100, data_sets(), st.integers(1, 5))
def test_images_shared_among_processes_score_the_same(data_set: DataSet, ranks: int) -> None:
    """As DefaultSampler deals them, the first ones again at the end, and MMEngine collects them."""
    pairs, num_classes, ignore_index = data_set
    whole = build(num_classes, ignore_index=ignore_index)
    for truth, pred in pairs:
        whole.process({}, [sample(truth, pred)])
    padded = [pairs[k % len(pairs)] for k in range(-(-len(pairs) // ranks) * ranks)]
    shares = []
    for rank in range(ranks):
        metric = build(num_classes, ignore_index=ignore_index)
        metric.process({}, [sample(truth, pred) for truth, pred in padded[rank::ranks]])
        shares.append(metric.results)
    dealt = [result for turn in zip(*shares, strict=True) for result in turn]
    for one, other in zip(whole.results, dealt[: len(pairs)], strict=True):
        assert one.equal(other)
