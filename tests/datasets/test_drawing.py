import cv2
import numpy as np
import pytest

from mmseg_pointrend.datasets.drawing import CLASSES, PALETTE, render_shapes


def test_seed_and_index_name_the_picture() -> None:
    pictures = [render_shapes(seed, index, (64, 48)) for seed, index in ((0, 1), (0, 1), (1, 0))]
    for first, again, other in zip(*pictures, strict=True):
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (40, 130), (131, 37)])
def test_sizes(size: tuple[int, int]) -> None:
    image, label = render_shapes(3, 1, size)
    assert image.shape == (*size, 3)
    assert label.shape == size
    assert image.dtype == label.dtype == np.uint8


def test_classes_have_their_shares_and_strokes_are_thin() -> None:
    labels = np.stack([render_shapes(0, index, (256, 256))[1] for index in range(12)])
    shares = np.bincount(labels.ravel(), minlength=len(CLASSES)) / labels.size
    assert len(shares) == len(PALETTE) == 6
    assert 0.6 < shares[0] < 0.85
    assert (shares[1:] > 0.01).all()
    strokes = [cv2.erode(np.uint8(label == 5), np.ones((5, 5))) for label in labels]
    assert np.sum(strokes) < 0.2 * (labels == 5).sum()


def test_image_and_label_lie_on_each_other() -> None:
    """Edges of the image are strongest at the boundaries of the label map."""
    ratios = []
    for index in range(6):
        image, label = render_shapes(1, index, (128, 128))
        steps = np.abs(np.diff(image.astype(float), axis=1)).sum(axis=-1)
        changes = np.diff(label.astype(int), axis=1) != 0
        ratios.append([np.roll(steps, shift, axis=1)[changes].mean() for shift in (-3, 0, 3)])
    before, at, after = np.mean(ratios, axis=0)
    assert at > 1.5 * max(before, after)
