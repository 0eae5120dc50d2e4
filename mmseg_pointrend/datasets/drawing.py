"""Pictures of overlapping shapes and their labels, drawn with OpenCV.

The label of a pixel is the topmost shape at its center; the image blends a shape in by its coverage
of the pixel. Both come from a mask of 5x5 cells a pixel. Points are (x, y) in pixels, pixel centers
at (i + 0.5).
"""

from collections.abc import Sequence

import cv2
import numpy as np

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
# Radii as shares of the image's shorter side, half the length of strokes.
SOLIDS = dict(disc=(0.03, 0.16), polygon=(0.07, 0.2), ring=(0.05, 0.15), star=(0.07, 0.19))
RADII = {**SOLIDS, "stroke": (0.15, 0.4)}
CELLS = 5  # of a pixel's side; odd, so that one lies at its center
SHIFT = 4  # fractional bits of the coordinates that OpenCV takes


def render_shapes(seed: int, index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image, BGR uint8 of shape (H, W, 3), and its label map, uint8 of shape (H, W).

    Seed and index are at least 0, ``size`` = (H, W) at least 32.
    """
    height, width = size
    rng = np.random.default_rng([seed, index])
    image = _texture(rng, height, width, rng.choice(BACKGROUND_COLORS), contrast=0.25)
    label = np.zeros((height, width), dtype=np.uint8)
    crowd = max(height, width) / min(height, width)
    # Strokes lie in the upper half of the pile: thin as they are, they would often be hidden.
    pile = [(rng.random(), kind) for kind in SOLIDS for _ in range(round(3 * crowd))]
    pile += [(rng.uniform(0.5, 1), "stroke") for _ in range(round(5 * crowd))]
    for _, kind in sorted(pile):
        points, pen = _outline(rng, kind, min(height, width))
        points += rng.uniform((0, 0), (width, height))
        box, mask = _mask(points, pen, kind == "ring", height, width)
        # One shape in four has the color of any class, so that color is a hint and no proof.
        wears = rng.integers(1, len(CLASSES)) if rng.random() < 0.25 else CLASSES.index(kind)
        texture = _texture(rng, *label[box].shape, PALETTE[wears], contrast=0.35)
        coverage = cv2.resize(mask, label[box].shape[::-1], interpolation=cv2.INTER_AREA)[..., None]
        image[box] += coverage * (texture - image[box])
        label[box][mask[CELLS // 2 :: CELLS, CELLS // 2 :: CELLS] > 0] = CLASSES.index(kind)
    return np.rint(image).astype(np.uint8), label


def _outline(rng: np.random.Generator, kind: str, unit: int) -> tuple[np.ndarray, float]:
    """Points around the origin, (N, 2), and the width of the pen; 0 fills the outline."""
    radius, angle, pen = rng.uniform(*RADII[kind]) * unit, rng.uniform(0, 2 * np.pi), 0.0
    if kind == "stroke":  # a parabola
        t, bend = np.linspace(-1, 1, 13), rng.uniform(-0.8, 0.8)
        pen = rng.uniform(2, 3.5) if rng.random() < 0.75 else rng.uniform(3.5, 7)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return radius * np.stack((t, bend * (1 - t * t)), axis=1) @ turn, pen
    corners = {"polygon": rng.integers(3, 7), "star": 2 * rng.integers(5, 9)}.get(kind, 72)
    turns = np.arange(corners, dtype=np.float64)
    if kind == "ring":
        radius = max(6.0, radius)
        pen = rng.uniform(2.5, 0.5 * radius)
    elif kind == "star":
        radius = radius * np.resize([1, rng.uniform(0.32, 0.5)], corners)
    elif kind == "polygon":
        radius = radius * rng.uniform(0.75, 1, corners)
        turns += rng.uniform(-0.25, 0.25, corners)
    angles = angle + 2 * np.pi / corners * turns
    return (radius * np.stack((np.cos(angles), np.sin(angles)))).T, pen


def _mask(
    points: np.ndarray, pen: float, closed: bool, height: int, width: int
) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of the image that a shape lies in, and its mask there, float32 of 0 and 1."""
    first = np.clip(np.floor(points.min(axis=0) - pen), 0, (width - 1, height - 1))
    last = np.clip(np.ceil(points.max(axis=0) + pen), first + 1, (width, height))
    (left, top), (right, bottom) = first.astype(int), last.astype(int)
    mask = np.zeros(((bottom - top) * CELLS, (right - left) * CELLS), dtype=np.float32)
    cells = np.rint(((points - first) * CELLS - 0.5) * 2**SHIFT).astype(np.int32)
    if pen:
        cv2.polylines(mask, [cells], closed, 1, round(pen * CELLS), shift=SHIFT)
    else:
        cv2.fillPoly(mask, [cells], 1, shift=SHIFT)
    return (slice(top, bottom), slice(left, right)), mask


def _texture(
    rng: np.random.Generator, height: int, width: int, color: Sequence[float], contrast: float
) -> np.ndarray:
    """Blotches, stripes, checks or dots in two shades of a color, BGR float32 (H, W, 3)."""
    period, angle = rng.uniform(6, 18), rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32) / period
    u, v = (x * np.cos(a) + y * np.sin(a) for a in (angle, angle + np.pi / 2))
    # Triangle waves, their flanks steepened towards square waves.
    u, v = (np.clip(2.5 * np.abs(2 * (t - np.floor(t)) - 1) - 0.75, 0, 1) for t in (u, v))
    patterns = (_noise(rng, height, width, period), u, np.abs(u - v), u * v)
    shade = patterns[rng.integers(4)] + 0.5 * _noise(rng, height, width, 5) - 0.75
    bgr = rng.uniform(0.75, 1.15) * (np.array(color[::-1]) + rng.uniform(-20, 20, 3))
    return np.clip((1 + contrast * shade)[..., None] * bgr, 0, 255).astype(np.float32)


def _noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth random blotches, mostly in [0, 1], about ``cell`` pixels wide."""
    grid = rng.random((int(height / cell) + 2, int(width / cell) + 2), dtype=np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
