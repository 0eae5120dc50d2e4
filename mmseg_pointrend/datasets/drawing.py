"""Pictures of overlapping shapes and their exact labels.

A shape is its signed distance function, in pixels and negative inside. Everything follows from it:
the label of a pixel is the topmost shape with a negative distance at the pixel's center, and the
image blends the shape in by its coverage, which falls from one to zero within half a pixel of the
outline.

The same (seed, index) gives the same bytes on every machine: the random numbers are raw draws of
PCG64, and the arithmetic is element-wise float64 with the operations that IEEE 754 rounds exactly
(+, -, *, /, sqrt). Sines, BLAS and OpenCV's drawing differ from machine to machine.

Coordinates are (x, y) in pixels, pixel centers at (i + 0.5). The distance functions take ``x`` of
shape (1, W) and ``y`` of shape (H, 1) and return (H, W), all float64.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from ..errors import InputError

Point = tuple[float, float]

MIN_SIZE = 32

COLORS = {
    "background": [44, 49, 64],
    "disc": [238, 96, 85],
    "polygon": [62, 146, 204],
    "ring": [245, 183, 65],
    "star": [150, 111, 214],
    "stroke": [72, 187, 138],
}
CLASSES, PALETTE = tuple(COLORS), list(COLORS.values())
BACKGROUND_COLORS = [(92, 98, 112), (196, 186, 168), (128, 140, 132), (170, 178, 190), (84, 76, 74)]

# Unit vectors a quarter of a degree apart. Rounding takes away the last bits of cos and sin, in
# which mathematical libraries differ.
TURN = 1440
DIRECTIONS = [
    (round(math.cos(2 * math.pi * i / TURN), 9), round(math.sin(2 * math.pi * i / TURN), 9))
    for i in range(TURN)
]


class Random:
    """Draws that no NumPy version or compiler changes.

    ``np.random.Generator`` keeps the right to change its distributions between versions; the bits
    below them are fixed.

    Args:
        seed (int): Seed of the data set.
        index (int): Index of the image.
    """

    def __init__(self, seed: int, index: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, index]))

    def array(self, *shape: int) -> np.ndarray:
        """Uniform numbers in [0, 1), float64, of the shape asked for."""
        bits = self._bits.random_raw(math.prod(shape)) >> np.uint64(11)
        return (bits * 2.0**-53).reshape(shape)

    def between(self, low: float, high: float) -> float:
        """A uniform number in [low, high)."""
        return low + (high - low) * self.array(1).item()

    def below(self, count: int) -> int:
        """A uniform integer in 0 ... count - 1."""
        return int(self.array(1).item() * count)

    def direction(self) -> Point:
        """A unit vector."""
        return DIRECTIONS[self.below(TURN)]


# Geometry -----------------------------------------------------------------------------------------


def disc_distance(x: np.ndarray, y: np.ndarray, center: Point, radius: float) -> np.ndarray:
    """Signed distance to a disc."""
    dx, dy = x - center[0], y - center[1]
    return np.sqrt(dx * dx + dy * dy) - radius


def ring_distance(
    x: np.ndarray, y: np.ndarray, center: Point, radius: float, width: float
) -> np.ndarray:
    """Signed distance to a ring of the given width around a circle."""
    return np.abs(disc_distance(x, y, center, radius)) - width / 2


def path_distance(
    x: np.ndarray, y: np.ndarray, points: Sequence[Point], reach: float
) -> np.ndarray:
    """Distance to a polyline, where it is below ``reach``; elsewhere at least ``reach``, or inf.

    Nobody asks for the distance to a line far away from it, and a window around each segment is
    much smaller than the window around a long path.
    """
    nearest = np.full((y.size, x.size), np.inf)
    for (ax, ay), (bx, by) in pairwise(points):
        left, right = np.searchsorted(x[0], (min(ax, bx) - reach, max(ax, bx) + reach))
        top, bottom = np.searchsorted(y[:, 0], (min(ay, by) - reach, max(ay, by) + reach))
        dx, dy = x[:, left:right] - ax, y[top:bottom] - ay
        ex, ey = bx - ax, by - ay
        along = np.clip((dx * ex + dy * ey) / (ex * ex + ey * ey), 0, 1)
        dx, dy = dx - along * ex, dy - along * ey
        window = nearest[top:bottom, left:right]
        np.minimum(window, dx * dx + dy * dy, out=window)
    return np.sqrt(nearest)


def polygon_distance(x: np.ndarray, y: np.ndarray, corners: Sequence[Point]) -> np.ndarray:
    """Signed distance to a polygon, within a pixel of its outline; elsewhere its sign is exact."""
    outline = [*corners, corners[0]]
    inside = np.zeros((y.size, x.size), dtype=bool)
    for (ax, ay), (bx, by) in pairwise(outline):
        # A ray towards +x leaves or enters the polygon at each edge that it crosses.
        spans = (ay > y) != (by > y)
        is_left = ((x - ax) * (by - ay) < (y - ay) * (bx - ax)) == (by > ay)
        inside ^= spans & is_left
    return np.where(inside, -1, 1) * path_distance(x, y, outline, reach=1)


def stroke_distance(
    x: np.ndarray, y: np.ndarray, points: Sequence[Point], width: float
) -> np.ndarray:
    """Signed distance to a polyline drawn with a round pen, within a pixel of its outline."""
    return path_distance(x, y, points, reach=width / 2 + 1) - width / 2


# Scenes -------------------------------------------------------------------------------------------


class Shape(NamedTuple):
    """One shape of a scene.

    Args:
        kind (str): Its class, one of ``CLASSES``.
        box (tuple[float, float, float, float]): Left, top, right and bottom of what it covers.
        distance (Callable): From ``x`` (1, W) and ``y`` (H, 1) to the signed distance (H, W).
    """

    kind: str
    box: tuple[float, float, float, float]
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray]


def _box(points: Sequence[Point], margin: float) -> tuple[float, float, float, float]:
    xs, ys = zip(*points, strict=True)
    return min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin


def _disc(random: Random, center: Point, unit: float) -> Shape:
    radius = random.between(0.03, 0.16) * unit
    return Shape(
        "disc", _box([center], radius), partial(disc_distance, center=center, radius=radius)
    )


def _polygon(random: Random, center: Point, unit: float) -> Shape:
    sides = 3 + random.below(4)
    radius = random.between(0.07, 0.2) * unit
    start = random.below(TURN)
    corners = []
    for side in range(sides):
        turn = int((side + random.between(-0.25, 0.25)) * TURN / sides)
        dx, dy = DIRECTIONS[(start + turn) % TURN]
        reach = radius * random.between(0.75, 1)
        corners.append((center[0] + reach * dx, center[1] + reach * dy))
    return Shape("polygon", _box(corners, 0), partial(polygon_distance, corners=corners))


def _ring(random: Random, center: Point, unit: float) -> Shape:
    radius = max(6.0, random.between(0.05, 0.15) * unit)
    width = random.between(2.5, 0.5 * radius)
    distance = partial(ring_distance, center=center, radius=radius, width=width)
    return Shape("ring", _box([center], radius + width / 2), distance)


def _star(random: Random, center: Point, unit: float) -> Shape:
    tips = 5 + random.below(4)
    radius = random.between(0.07, 0.19) * unit
    waist = radius * random.between(0.32, 0.5)
    start = random.below(TURN)
    corners = []
    for corner in range(2 * tips):
        dx, dy = DIRECTIONS[(start + corner * TURN // (2 * tips)) % TURN]
        reach = waist if corner % 2 else radius
        corners.append((center[0] + reach * dx, center[1] + reach * dy))
    return Shape("star", _box(corners, 0), partial(polygon_distance, corners=corners))


def _stroke(random: Random, center: Point, unit: float) -> Shape:
    """A bent stroke: a quadratic Bezier curve in twelve straight pieces."""
    dx, dy = random.direction()
    half = random.between(0.15, 0.4) * unit
    bend = random.between(-0.8, 0.8) * half
    width = random.between(2, 3.5) if random.below(4) else random.between(3.5, 7)
    points = []
    for piece in range(13):
        t = piece / 6 - 1  # from -1 to 1
        along, across = t * half, (1 - t * t) * bend
        points.append((center[0] + along * dx - across * dy, center[1] + along * dy + across * dx))
    distance = partial(stroke_distance, points=points, width=width)
    return Shape("stroke", _box(points, width / 2), distance)


def random_scene(random: Random, height: int, width: int) -> list[Shape]:
    """Draw the shapes of one image, the lowest first.

    Args:
        random (Random): Source of the draws.
        height (int): Height of the image in pixels.
        width (int): Width of the image in pixels.

    Returns:
        list[Shape]: Equally many discs, polygons, rings and stars, and some strokes in the upper
        half of the pile: thin as they are, they would be hidden too often.
    """
    unit = min(height, width)
    crowd = max(height, width) / unit
    solids = [_disc, _polygon, _ring, _star] * round(3 * crowd)
    strokes = [_stroke] * round(5 * crowd)
    pile = [(random.between(0, 1), make) for make in solids]
    pile += [(random.between(0.5, 1), make) for make in strokes]
    pile.sort(key=itemgetter(0))
    return [
        make(random, (random.between(0, width), random.between(0, height)), unit)
        for _, make in pile
    ]


# Textures -----------------------------------------------------------------------------------------


def _wave(t: np.ndarray) -> np.ndarray:
    """Triangle wave in [0, 1] with period 1, its flanks steepened towards a square wave."""
    return np.clip(2.5 * np.abs(2 * (t - np.floor(t)) - 1) - 0.75, 0, 1)


def _noise(random: Random, x: np.ndarray, y: np.ndarray, cell: float) -> np.ndarray:
    """Smooth random blotches in [0, 1), about ``cell`` pixels wide."""
    u, v = (x[0] - x[0, 0]) / cell, (y[:, 0] - y[0, 0]) / cell
    column, row = u.astype(int), v.astype(int)
    grid = random.array(row[-1] + 2, column[-1] + 2)
    u, v = u - column, (v - row)[:, None]
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    grid = grid[:, column] * (1 - u) + grid[:, column + 1] * u
    return grid[row] * (1 - v) + grid[row + 1] * v


def _pattern(random: Random, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Blotches, stripes, checks or dots in [0, 1], turned at random."""
    period = random.between(6, 18)
    dx, dy = random.direction()
    u, v = (x * dx + y * dy) / period, (y * dx - x * dy) / period
    kind = random.below(4)
    if kind == 0:
        return _noise(random, x, y, period)
    if kind == 1:
        return _wave(u)
    if kind == 2:
        return np.abs(_wave(u) - _wave(v))
    return _wave(u) * _wave(v)


def _texture(
    random: Random, x: np.ndarray, y: np.ndarray, color: Sequence[float], contrast: float
) -> np.ndarray:
    """A pattern in two shades of one color, BGR of shape (H, W, 3)."""
    tone = random.between(0.75, 1.15)
    shade = _pattern(random, x, y) + 0.5 * _noise(random, x, y, 5.0) - 0.75
    bgr = np.array(color[::-1]) + 40 * (random.array(3) - 0.5)
    return np.clip(tone * (1 + contrast * shade)[..., None] * bgr, 0, 255)


# Images -------------------------------------------------------------------------------------------


def render_shapes(
    seed: int, index: int, size: int | tuple[int, int] = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image and its label map.

    Args:
        seed (int): Seed of the data set, at least 0.
        index (int): Index of the image, at least 0.
        size (int | tuple[int, int]): Height and width in pixels, or the side of a square. At least
            32. Defaults to 256.

    Returns:
        tuple[np.ndarray, np.ndarray]: The image, BGR uint8 of shape (H, W, 3), and the class of
        each pixel, uint8 of shape (H, W).

    Raises:
        InputError: A number is below its minimum.
    """
    height, width = height_and_width(size)
    if seed < 0 or index < 0:
        raise InputError(f"seed and index must be at least 0, but are {seed} and {index}")
    random = Random(seed, index)
    x, y = np.arange(width)[None] + 0.5, np.arange(height)[:, None] + 0.5
    color = BACKGROUND_COLORS[random.below(len(BACKGROUND_COLORS))]
    image = _texture(random, x, y, color, contrast=0.25)
    label = np.zeros((height, width), dtype=np.uint8)
    for shape in random_scene(random, height, width):
        kind = CLASSES.index(shape.kind)
        # One shape in four wears the color of any class, so that color hints and does not tell.
        wears = kind if random.below(4) else 1 + random.below(len(CLASSES) - 1)
        # A pixel more on each side: coverage reaches half a pixel beyond the outline.
        left, top, right, bottom = shape.box
        rows = slice(max(0, math.floor(top) - 1), math.ceil(bottom) + 1)
        columns = slice(max(0, math.floor(left) - 1), math.ceil(right) + 1)
        near_x, near_y = x[:, columns], y[rows]
        distance = shape.distance(near_x, near_y)
        coverage = np.clip(0.5 - distance, 0, 1)[..., None]
        texture = _texture(random, near_x, near_y, PALETTE[wears], contrast=0.35)
        image[rows, columns] = coverage * texture + (1 - coverage) * image[rows, columns]
        label[rows, columns][distance < 0] = kind
    return np.rint(image).astype(np.uint8), label


def height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of a picture from those, or from the side of a square.

    Raises:
        InputError: The size is no such thing, or below the minimum of 32 pixels.
    """
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or not all(isinstance(n, int) and n >= MIN_SIZE for n in sides):
        raise InputError(
            f"size must be an integer or (height, width), at least {MIN_SIZE} pixels, but is {size}"
        )
    return sides
