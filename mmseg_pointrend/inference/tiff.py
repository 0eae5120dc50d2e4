"""Label maps in tiled TIFF files, written tile by tile."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import replacing
from .images import full_palette, refuse_large_labels


@dataclass
class LabelTiles:
    """A label map in tiles.

    Attributes:
        size (tuple[int, int]): (height, width) of the map in pixels.
        tile (tuple[int, int]): (height, width) of a tile in pixels, multiples of 16. Those at the
            lower and right edges of the map may be smaller.
        tiles (Iterable[np.ndarray]): Class indices of each tile, row by row.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    tiles: Iterable[np.ndarray]


def write_label_tiff(path: Path, labels: LabelTiles, palette: Sequence[Sequence[int]]) -> None:
    """Write class indices as an 8-bit palette TIFF that never lies in memory as a whole.

    Args:
        path (Path): The file to write.
        labels (LabelTiles): The label map; a tile is taken when the one before is written.
        palette (Sequence[Sequence[int]]): RGB color of each class.

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
            _as_bytes(labels, path),
            shape=labels.size,
            dtype=np.uint8,
            # Offsets of 32 bits reach to 4 GB, and tiles that do not compress take some more.
            bigtiff=height * width > 2**31,
            photometric="palette",
            # as TIFF has them: 16 bits, one row for each channel
            colormap=full_palette(palette).T.astype(np.uint16) * 257,
            tile=labels.tile,
            compression="zlib",
            # More of them would take tiles ahead of time.
            maxworkers=1,
            metadata=None,
        )


def _as_bytes(labels: LabelTiles, path: Path) -> Iterator[np.ndarray]:
    for tile in labels.tiles:
        refuse_large_labels(tile, path)
        yield tile.astype(np.uint8, copy=False)
