"""Predicting images that are too large to be predicted at once, in overlapping windows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from .images import read_image
from .tiff import LabelTiles
from .windows import WindowReader

# What the sides of a TIFF's tiles are multiples of.
TIFF_SIDE = 16


class Span(NamedTuple):
    """A window along one axis, in pixels.

    Attributes:
        start (int): Its first pixel.
        stop (int): The pixel behind its last.
        kept (slice): The part of the image whose labels are taken from it.
    """

    start: int
    stop: int
    kept: slice


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into windows that overlap.

    Args:
        tile (int): Height and width of a window in pixels.
        overlap (int): Pixels that neighbors share. Each gives the labels of its half of them: near
            its edge a window sees little around a pixel. The image's own edges are kept.

    Raises:
        InputError: If a size makes no sense, or windows without the overlap are no tiles of a TIFF.
    """

    tile: int
    overlap: int

    def __post_init__(self) -> None:
        if self.tile < 1 or self.overlap < 0:
            raise InputError(
                f"--tile {self.tile} --overlap {self.overlap}: a tile has a side of at least one "
                "pixel, and the overlap is not negative."
            )
        if self.overlap >= self.tile:
            raise InputError(f"--overlap {self.overlap} has to be smaller than --tile {self.tile}.")
        if self.overlap % 2 or self.step % TIFF_SIDE:
            raise InputError(
                f"--tile {self.tile} --overlap {self.overlap}: the overlap has to be even, and "
                f"their difference, {self.step}, a multiple of {TIFF_SIDE}; 2048 and 256 are."
            )

    @property
    def step(self) -> int:
        """Pixels from one window to the next, the side of what is kept of each."""
        return self.tile - self.overlap

    def window(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the windows of an image of ``size``."""
        return min(size[0], self.tile), min(size[1], self.tile)

    def kept(self, length: int) -> int:
        """Pixels that are kept of each window along an axis: all if it fits, in TIFF's sizes."""
        if length <= self.tile:
            return -(-length // TIFF_SIDE) * TIFF_SIDE
        return self.step

    def spans(self, length: int) -> list[Span]:
        """Windows along an axis of an image of ``length`` pixels, one if it fits."""
        if length <= self.tile:
            return [Span(0, length, slice(0, length))]
        spans = []
        for kept in range(0, length, self.step):
            # The last window ends with the image: it is whole, and so sees as much as others.
            start = min(max(kept - self.overlap // 2, 0), length - self.tile)
            spans.append(Span(start, start + self.tile, slice(kept, min(kept + self.step, length))))
        return spans


def predict_tiles(
    segment: Callable[[np.ndarray], np.ndarray], path: Path, tiling: Tiling
) -> LabelTiles:
    """Predict an image file window by window.

    Args:
        segment (Callable): Labels, (H, W), of a BGR image, (H, W, 3), uint8.
        path (Path): The image file.
        tiling (Tiling): How it is cut. An image that fits one tile is predicted as a whole.

    Returns:
        LabelTiles: Its labels. Nothing larger than a window is ever in memory.

    Raises:
        InputError: If the file cannot be read; from the tiles, too, if that turns out late.
    """
    reader = WindowReader(path)
    height, width = reader.size
    rows, columns = tiling.spans(height), tiling.spans(width)

    def tiles() -> Iterator[np.ndarray]:
        if len(rows) == len(columns) == 1:
            # read as without tiling, to be the same to the last bit
            yield segment(read_image(path))
            return
        for row in rows:
            before = None
            for column in columns:
                if before is None or column.start != before.start:
                    labels = segment(reader.read(row.start, row.stop, column.start, column.stop))
                before = column
                yield labels[_within(row), _within(column)]

    return LabelTiles(
        size=(height, width), tile=(tiling.kept(height), tiling.kept(width)), tiles=tiles()
    )


def _within(span: Span) -> slice:
    """What is kept, in pixels of the window."""
    return slice(span.kept.start - span.start, span.kept.stop - span.start)
