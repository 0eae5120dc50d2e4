"""Predicting images that are too large to be predicted at once, in overlapping windows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..files import replacing
from .images import full_palette, label_bytes, read_image
from .windows import WindowReader

# What the sides of a TIFF's tiles are multiples of.
TIFF_SIDE = 16


class Span(NamedTuple):
    """A window along one axis."""

    start: int
    stop: int
    kept: slice  # the part of the image whose labels are taken from it

    @property
    def inner(self) -> slice:
        """What is kept, in pixels of the window."""
        return slice(self.kept.start - self.start, self.kept.stop - self.start)


class LabelTiles(NamedTuple):
    """A label map in tiles, of which those at the lower and right edges may be smaller."""

    size: tuple[int, int]  # (height, width) of the map in pixels
    tile: tuple[int, int]  # (height, width) of a tile in pixels, multiples of 16
    tiles: Iterable[np.ndarray]  # class indices of each tile, row by row


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into windows that overlap.

    Args:
        tile (int): Height and width of a window in pixels.
        overlap (int): Pixels that neighbors share. Each gives the labels of its half of them: near
            its edge a window sees little around a pixel. The image's own edges are kept.

    Raises:
        InputError: If windows without the overlap cannot be tiles of a TIFF.
    """

    tile: int
    overlap: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.tile or self.overlap % 2 or self.step % TIFF_SIDE:
            raise InputError(
                f"--overlap must be even, >= 0 and smaller than --tile by a multiple of "
                f"{TIFF_SIDE}, got --tile {self.tile} --overlap {self.overlap}; 2048 and 256 are."
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
        return self.step if length > self.tile else -(-length // TIFF_SIDE) * TIFF_SIDE

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
    """Predict an image file window by window, each when its tile is asked for.

    Args:
        segment (Callable): Labels, (H, W), of a BGR image, (H, W, 3), uint8.
        path (Path): The image file.
        tiling (Tiling): How it is cut. An image that fits one tile is predicted as a whole.

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
                if before != column.start:
                    labels = segment(reader.read(row.start, row.stop, column.start, column.stop))
                before = column.start
                yield labels[row.inner, column.inner]

    return LabelTiles((height, width), (tiling.kept(height), tiling.kept(width)), tiles())


def write_label_tiff(path: Path, labels: LabelTiles, palette: Sequence[Sequence[int]]) -> None:
    """Write class indices as an 8-bit TIFF with the RGB colors of ``palette``, tile by tile.

    Raises:
        InputError: If there are labels above 255, the file cannot be written, or tifffile is not
            installed.
    """
    try:
        import tifffile
    except ImportError as error:
        raise InputError("--tile needs tifffile: pip install 'mmseg-pointrend[tiles]'.") from error
    height, width = labels.size
    with replacing(path) as partial:
        tifffile.imwrite(
            partial,
            (label_bytes(tile, path) for tile in labels.tiles),
            shape=labels.size,
            dtype=np.uint8,
            # Offsets of 32 bits reach to 4 GB, and tiles that do not compress take some more.
            bigtiff=height * width > 2**31,
            photometric="palette",
            # as TIFF has them: 16 bits, one row for each channel
            colormap=full_palette(palette).T.astype(np.uint16) * 257,
            tile=labels.tile,
            compression="zlib",
            maxworkers=1,  # more would take tiles ahead of time
            metadata=None,
        )
