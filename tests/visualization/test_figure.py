import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from mmseg_pointrend.visualization.explanation import Explanation, StepPoints
from mmseg_pointrend.visualization.figure import (
    explain_figure,
    figure_to_image,
    heaviest_window,
)

PALETTE = [[10, 20, 30], [200, 100, 0]]


def explanation(height: int, width: int, steps: int = 2) -> Explanation:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (height, width))
    points = [
        StepPoints(
            (max(1, height // 2**k), max(1, width // 2**k)),
            (rng.random((5, 2)) * (width, height)).astype(np.float32),
        )
        for k in reversed(range(steps))
    ]
    return Explanation(labels, points, 1 - labels)


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


@pytest.mark.parametrize("has_truth", [False, True])
def test_panels_tell_the_story_in_order(image: np.ndarray, has_truth: bool) -> None:
    told = explanation(*image.shape[:2])
    figure = explain_figure(image, told, PALETTE, told.labels if has_truth else None)
    names = (
        ["image", "truth", "coarse", "PointRend"] if has_truth else ["image", "coarse", "PointRend"]
    )
    steps = ["step 1: 5 points of 20×26", "step 2: 5 points of 41×53"]
    assert titles(figure) == names + steps + [f"{name}, zoomed" for name in names]


def test_maps_are_painted_in_rgb(image: np.ndarray) -> None:
    told = explanation(*image.shape[:2], steps=0)
    axes = {axes.get_title(): axes for axes in explain_figure(image, told, PALETTE).axes}
    np.testing.assert_array_equal(axes["image"].images[0].get_array(), image[..., ::-1])
    for name, labels in (("coarse", told.coarse), ("PointRend", told.labels)):
        np.testing.assert_array_equal(axes[name].images[0].get_array(), np.array(PALETTE)[labels])


def test_points_lie_on_the_pixels_they_name(image: np.ndarray) -> None:
    # imshow has the center of pixel 0 at 0, coordinates in pixels have it at 0.5
    xy = np.array([[0.5, 0.5], [52.5, 40.5]], dtype=np.float32)
    told = explanation(*image.shape[:2], steps=0)._replace(steps=[StepPoints((41, 53), xy)])
    figure = explain_figure(image, told, PALETTE)
    (axes,) = [axes for axes in figure.axes if axes.get_title().startswith("step")]
    np.testing.assert_allclose(axes.collections[0].get_offsets(), [[0, 0], [52, 40]])


@pytest.mark.parametrize("size", [(41, 53), (1, 1), (3, 90)])
def test_any_image_becomes_a_picture(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 90, dtype=np.uint8)
    picture = figure_to_image(explain_figure(image, explanation(*size, steps=1), PALETTE))
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert picture.std() > 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_the_window_with_the_largest_sum(height: int, width: int, data: st.DataObject) -> None:
    weight = np.random.default_rng(data.draw(st.integers(0, 9))).integers(-1, 2, (height, width))
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    top, left = heaviest_window(weight, (rows, columns))
    sums = np.lib.stride_tricks.sliding_window_view(weight, (rows, columns)).sum(axis=(2, 3))
    assert sums[top, left] == sums.max()
