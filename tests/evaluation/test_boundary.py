"""The geometry against per-class morphology, distance transforms and hand-drawn maps."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseg_pointrend.evaluation.boundary_iou_metric import count_overlap, near_other_label


@st.composite
def label_maps(draw):
    """Label maps (H, W) with 0 for ignored: blobs or noise, from one pixel up."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    num_classes = draw(st.integers(1, 5))
    void_share = draw(st.sampled_from([0.0, 0.1, 0.6, 1.0]))
    grain = draw(st.sampled_from([1, 2, 5]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blocks = rng.integers(1, num_classes + 1, (height, width))
    blocks[rng.random(blocks.shape) < void_share] = 0
    labels = np.kron(blocks, np.ones((grain, grain), dtype=int))[:height, :width]
    return labels.astype(draw(st.sampled_from([np.uint8, np.int16])))


def near_other_label_by_distance_transform(labels, distance):
    """One class after another: how far is the next pixel of any other class?"""
    near = np.zeros(labels.shape, dtype=bool)
    for value in np.unique(labels[labels > 0]):
        other = (labels > 0) & (labels != value)
        if other.any():
            away = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_C, 3)
            near |= (labels == value) & (away <= distance)
    return near


def near_contour_by_erosion(labels, distance):
    """One class after another: what does the erosion of the authors' code take away?

    Ignored pixels join the mask before it is eroded, so that it has no contour at them.
    """
    near = np.zeros(labels.shape, dtype=bool)
    for value in np.unique(labels[labels > 0]):
        mask = np.pad((labels == value) | (labels == 0), 1).astype(np.uint8)
        eroded = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
        near |= (labels == value) & (eroded == 0)
    return near


@settings(max_examples=150, deadline=None)
@given(label_maps(), st.integers(1, 30))
def test_near_other_label_equals_distance_transform(labels, distance):
    near = near_other_label(torch.from_numpy(labels), distance)
    expected = near_other_label_by_distance_transform(labels, distance)
    np.testing.assert_array_equal(near.numpy(), expected)


@settings(max_examples=150, deadline=None)
@given(label_maps(), st.integers(1, 30))
def test_contour_with_border_equals_erosion(labels, distance):
    near = near_other_label(torch.from_numpy(labels), distance, with_border=True)
    expected = near_contour_by_erosion(labels, distance)
    np.testing.assert_array_equal(near.numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
def test_largest_label_of_each_dtype(dtype):
    largest = torch.iinfo(dtype).max
    labels = torch.tensor([[1, 1, largest, 0]], dtype=dtype)
    assert near_other_label(labels, 1).tolist() == [[False, True, True, False]]


def test_ignored_strip_hides_a_contour_but_does_not_remove_it():
    labels = torch.tensor([[1, 1, 0, 2, 2]], dtype=torch.uint8)
    assert not near_other_label(labels, 1).any()
    assert near_other_label(labels, 2).tolist() == [[False, True, False, True, False]]


def test_corners_touch():
    labels = torch.tensor([[2, 1, 1], [1, 1, 1], [1, 1, 1]], dtype=torch.uint8)
    assert near_other_label(labels, 1).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, False],
    ]


def test_count_overlap_by_hand():
    label = torch.tensor([[1, 1, 2], [2, 2, 0]], dtype=torch.uint8)
    pred = torch.tensor([[1, 2, 2], [2, 3, 0]], dtype=torch.uint8)
    intersection, union = count_overlap(label, pred, num_labels=5)
    assert intersection[1:].tolist() == [1, 2, 0, 0]
    assert union[1:].tolist() == [2, 4, 1, 0]
