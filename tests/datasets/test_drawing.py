import cmath
import hashlib
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseg_pointrend.datasets import drawing, render_shapes
from mmseg_pointrend.errors import InputError

HEIGHT, WIDTH = 23, 31
X, Y = np.arange(WIDTH)[None] + 0.5, np.arange(HEIGHT)[:, None] + 0.5
coordinates = st.integers(-40, 320).map(lambda n: n / 8)
points = st.tuples(coordinates, coordinates)


def segment_distance(p: complex, a: complex, b: complex) -> float:
    """Distance from p to the segment ab, by turning ab onto the real axis."""
    turned = (p - a) * (b - a).conjugate() / abs(b - a)
    if turned.real < 0:
        return abs(p - a)
    if turned.real > abs(b - a):
        return abs(p - b)
    return abs(turned.imag)


def winding_number(p: complex, corners: list[complex]) -> int:
    """How often a closed path goes around p, by adding up the angles that its edges subtend."""
    edges = pairwise([*corners, corners[0]])
    angle = sum(cmath.phase((b - p) * (a - p).conjugate()) for a, b in edges)
    return round(angle / (2 * math.pi))


def each_pixel(function: Callable[[complex], float]) -> np.ndarray:
    """Values of a function of one complex number, a pixel at a time."""
    return np.array([[function(complex(x, y)) for x in X[0]] for y in Y[:, 0]])


# Geometry -----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(center=points, radius=st.floats(1, 20), width=st.floats(1, 10))
def test_disc_and_ring_distance(center: drawing.Point, radius: float, width: float) -> None:
    to_center = each_pixel(lambda p: abs(p - complex(*center)))
    disc = drawing.disc_distance(X, Y, center, radius)
    ring = drawing.ring_distance(X, Y, center, radius, width)
    np.testing.assert_allclose(disc, to_center - radius, atol=1e-9)
    is_ring = (to_center > radius - width / 2) & (to_center < radius + width / 2)
    clear = np.abs(ring) > 1e-9
    np.testing.assert_array_equal((ring < 0)[clear], is_ring[clear])


@settings(max_examples=25, deadline=None)
@given(path=st.lists(points, min_size=2, max_size=5, unique=True), width=st.floats(2, 8))
def test_stroke_distance(path: list[drawing.Point], width: float) -> None:
    ends = [complex(*point) for point in path]
    expected = each_pixel(lambda p: min(segment_distance(p, a, b) for a, b in pairwise(ends)))
    expected -= width / 2
    actual = drawing.stroke_distance(X, Y, path, width)
    near = expected < 0.99
    np.testing.assert_allclose(actual[near], expected[near], atol=1e-6)
    assert (actual[~near] > 0.98).all()


@settings(max_examples=25, deadline=None)
@given(
    center=points,
    reaches=st.lists(st.floats(2, 20), min_size=3, max_size=10),
    start=st.floats(0, 2 * math.pi),
)
def test_polygon_distance(center: drawing.Point, reaches: list[float], start: float) -> None:
    corners = []
    for i, reach in enumerate(reaches):
        angle = start + 2 * math.pi * i / len(reaches)
        corners.append(complex(*center) + reach * complex(math.cos(angle), math.sin(angle)))
    outline = list(pairwise([*corners, corners[0]]))
    to_outline = each_pixel(lambda p: min(segment_distance(p, a, b) for a, b in outline))
    inside = each_pixel(lambda p: winding_number(p, corners) != 0)
    actual = drawing.polygon_distance(X, Y, [(corner.real, corner.imag) for corner in corners])
    clear = to_outline > 1e-6
    np.testing.assert_array_equal((actual < 0)[clear], inside[clear])
    near = to_outline < 0.99
    np.testing.assert_allclose(np.abs(actual[near]), to_outline[near], atol=1e-6)
    assert (np.abs(actual[~near]) > 0.98).all()


# Images -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "image_hash", "label_hash"),
    [
        (
            (0, 0, 256),
            "3050a240b1c671b006034a32a601fcc00dd6f952642c62dfea3d503770710b49",
            "7f475c6a159283592fc00cfd0469ba1f66df288bf853898b8201cadf247e6662",
        ),
        (
            (7, 123, (97, 160)),
            "86c8390c56b6677994cecbb45fbc68b3fc5f7791011084e403fe2351d9434232",
            "7d3f3c1817a3b0f2d6b43bece645670f0be6ff5e4e3cdda040a191741493fc10",
        ),
    ],
)
def test_same_bytes_on_every_machine(arguments: tuple, image_hash: str, label_hash: str) -> None:
    image, label = render_shapes(*arguments)
    assert hashlib.sha256(image.tobytes()).hexdigest() == image_hash
    assert hashlib.sha256(label.tobytes()).hexdigest() == label_hash


def test_seed_and_index_name_the_image() -> None:
    images = {render_shapes(seed, i, 64)[0].tobytes() for seed in (0, 1) for i in (0, 1, 0)}
    assert len(images) == 4


@pytest.mark.parametrize("size", [32, (33, 47), (40, 130), [131, 37]])
def test_sizes(size: int | tuple[int, int]) -> None:
    image, label = render_shapes(3, 1, size)
    height, width = (size, size) if isinstance(size, int) else size
    assert image.shape == (height, width, 3)
    assert label.shape == (height, width)
    assert image.dtype == label.dtype == np.uint8


@pytest.mark.parametrize(
    ("seed", "index", "size"),
    [(-1, 0, 64), (0, -1, 64), (0, 0, 31), (0, 0, (64, 8)), (0, 0, (64, 64, 3)), (0, 0, 64.5)],
)
def test_bad_arguments(seed: int, index: int, size: int | tuple[int, int]) -> None:
    with pytest.raises(InputError, match="must be"):
        render_shapes(seed, index, size)


@pytest.mark.parametrize(("index", "size"), [(0, (96, 128)), (5, (160, 70)), (9, (33, 33))])
def test_label_is_the_topmost_shape_at_the_pixel_center(index: int, size: tuple[int, int]) -> None:
    height, width = size
    x, y = np.arange(width)[None] + 0.5, np.arange(height)[:, None] + 0.5
    scene = []
    with pytest.MonkeyPatch.context() as patch:
        draw = drawing.random_scene
        patch.setattr(drawing, "random_scene", lambda *a: scene.extend(draw(*a)) or scene)
        _, label = render_shapes(4, index, size)
    expected = np.zeros(size, dtype=np.uint8)
    for shape in scene:  # without the windows that make drawing fast
        expected[shape.distance(x, y) < 0] = drawing.CLASSES.index(shape.kind)
    np.testing.assert_array_equal(label, expected)


def test_image_blends_by_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    """One white disc on black: whole inside, nothing outside, and its area in between."""
    center, radius = (30.3, 25.8), 13.4
    box = (center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius)
    distance = partial(drawing.disc_distance, center=center, radius=radius)
    disc = drawing.Shape("disc", box, distance)
    monkeypatch.setattr(drawing, "random_scene", lambda *_: [disc])

    def flat(random: drawing.Random, x: np.ndarray, y: np.ndarray, color, contrast) -> np.ndarray:
        white = x.size < 64  # the background has the size of the image
        return np.full((y.size, x.size, 3), 255.0 * white)

    monkeypatch.setattr(drawing, "_texture", flat)
    image, label = render_shapes(0, 0, 64)
    y, x = np.mgrid[:64, :64] + 0.5
    to_outline = np.sqrt((x - center[0]) ** 2 + (y - center[1]) ** 2) - radius
    assert (image[to_outline < -0.51] == 255).all()
    assert (image[to_outline > 0.51] == 0).all()
    border = image[np.abs(to_outline) < 0.45]
    assert border.min() > 0
    assert border.max() < 255
    assert image[..., 0].sum() / 255 == pytest.approx(math.pi * radius**2, rel=0.005)
    np.testing.assert_array_equal(label == 1, to_outline < 0)


def test_classes_and_thin_strokes() -> None:
    shares = np.zeros(6)
    widths = []
    for index in range(12):
        _, label = render_shapes(0, index)
        counts = np.bincount(label.ravel(), minlength=6)
        assert counts.size == 6
        assert (counts > 0).sum() >= 5
        shares += counts / label.size / 12
        scene = drawing.random_scene(drawing.Random(0, index), 256, 256)
        widths += [s.distance.keywords["width"] for s in scene if s.kind == "stroke"]
    assert shares[0] < 0.85
    assert (shares[1:] > 0.01).all()
    assert 2 <= min(widths) < 2.2
    assert np.mean(np.array(widths) < 3.5) > 0.5
