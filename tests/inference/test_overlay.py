import numpy as np
import pytest

from mmseg_pointrend.inference.overlay import as_picture, colorize, overlay

PALETTE = [[10, 20, 30], [200, 100, 0]]


def test_colorize_paints_classes_in_bgr_and_the_rest_black() -> None:
    painted = colorize(np.array([[0, 1, 2], [255, -1, 1]]), PALETTE)
    assert painted.dtype == np.uint8
    first, second, black = [30, 20, 10], [0, 100, 200], [0, 0, 0]
    assert painted.tolist() == [[first, second, black], [black, black, second]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_colorize_takes_any_integers(dtype: type) -> None:
    labels = np.array([[0, 1, 7]], dtype=dtype)
    assert colorize(labels, PALETTE).tolist() == [[[30, 20, 10], [0, 100, 200], [0, 0, 0]]]


def test_overlay_mixes_image_and_colors(image: np.ndarray) -> None:
    labels = np.indices(image.shape[:2]).sum(axis=0) % 2
    colors = colorize(labels, PALETTE)
    np.testing.assert_array_equal(overlay(image, labels, PALETTE, opacity=0), image)
    np.testing.assert_array_equal(overlay(image, labels, PALETTE, opacity=1), colors)
    half = overlay(image, labels, PALETTE)
    assert half.dtype == np.uint8
    assert np.abs(half - (image / 2 + colors / 2)).max() <= 0.5


def test_any_bands_become_a_picture(image: np.ndarray) -> None:
    np.testing.assert_array_equal(as_picture(image), image)
    np.testing.assert_array_equal(as_picture(image, is_bgr=False), image[..., ::-1])
    gray = np.dstack([image[..., 0]] * 3)
    for one in (image[..., 0], image[..., :1], image[..., :2]):
        np.testing.assert_array_equal(as_picture(one), gray)
    bands = np.random.default_rng(0).normal(300, 50, (30, 40, 12)).astype(np.float32)
    bands[0, 0] = np.nan, *[np.inf] * 11
    for values in (bands, np.nan_to_num(bands, posinf=0).astype(np.uint16), bands * 0 + 1):
        picture = as_picture(values)
        assert picture.shape == (30, 40, 3)
        assert picture.dtype == np.uint8
    assert as_picture(bands).std() > 50
