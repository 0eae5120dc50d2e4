"""Images that are too large for memory: read, predicted and written window by window.

The packages for it, pyvips and tifffile, are those of the extra ``tiles``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import check_depth, replacing
from .images import full_palette, label_bytes

TIFF_SIDE = 16  # what the sides of a TIFF's tiles are multiples of
Size = tuple[int, int]  # (height, width) in pixels


class WindowReader:
    """Reads windows of an image of ``size`` as :func:`read_image` reads the whole.

    Tiled TIFF files are read in place. libvips unpacks others first, above 100 MB to a file in the
    folder for temporary files, TMPDIR, which is as large as the image's pixels. Raises an
    InputError if the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        import pyvips

        self._path, self._error = path, pyvips.Error
        try:
            # By its descriptor: in names libvips looks for options, as in "a[1].tif".
            with path.open("rb", buffering=0) as file:
                # Of tiles that are missing libvips only warns; PNG files have harmless warnings.
                fail_on = "warning" if file.read(2) in (b"II", b"MM") else "error"
                file.seek(0)
                source = pyvips.Source.new_from_descriptor(file.fileno())
                image = pyvips.Image.new_from_source(source, "", fail_on=fail_on)
            if image.format not in ("uchar", "ushort"):
                raise InputError(
                    f"{path}: --tile reads images of 8 or 16 bits, got {image.format}."
                )
            if image.format == "ushort":
                check_depth(int(image.max()), path)
            self._image = image.autorot().colourspace("srgb")
        except (OSError, pyvips.Error) as error:
            raise self._unreadable(error) from error
        self.size = (self._image.height, self._image.width)

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """A window of the image, BGR, (H, W, 3), uint8; InputError if that part of the file cannot
        be decoded."""
        top, left = rows.start, columns.start
        try:
            pixels = self._image.crop(left, top, columns.stop - left, rows.stop - top).numpy()
        except self._error as error:
            raise self._unreadable(error) from error
        return np.ascontiguousarray(pixels[..., 2::-1])

    def _unreadable(self, error: Exception) -> InputError:
        reason = " ".join(str(error).split())
        return InputError(
            f"{self._path}: not a whole image that libvips can decode ({reason}); try it without "
            "--tile, or save it as TIFF, PNG or JPEG."
        )


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into windows that overlap.

    Of the pixels that neighbors share each gives the labels of its half: near its edge a window
    sees little around a pixel. Raises an InputError if what is left cannot be tiles of a TIFF.
    """

    tile: int  # height and width of a window in pixels
    overlap: int  # pixels that neighbors share

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

    def kept(self, size: Size) -> Size:
        """(height, width) of what is kept of each window: all if it fits, in TIFF's sizes."""
        height, width = (
            self.step if length > self.tile else -(-length // TIFF_SIDE) * TIFF_SIDE
            for length in size
        )
        return height, width

    def spans(self, length: int) -> Iterator[tuple[slice, slice]]:
        """Windows along an axis of ``length`` pixels, each with the part of it that is kept."""
        if length <= self.tile:
            yield slice(0, length), slice(0, length)
            return
        for first in range(0, length, self.step):
            # The last window ends with the image: it is whole, and so sees as much as others.
            start = min(max(first - self.overlap // 2, 0), length - self.tile)
            kept = slice(first - start, min(first + self.step, length) - start)
            yield slice(start, start + self.tile), kept


def predict_tiles(
    segment: Callable[[np.ndarray], np.ndarray], reader: WindowReader, tiling: Tiling
) -> Iterator[np.ndarray]:
    """Predict an image window by window, each when its tile is asked for: row by row, of the size
    ``tiling.kept`` or, at the lower and right edges, smaller.

    ``segment`` gives labels, (H, W), of a BGR image, (H, W, 3), uint8.
    """
    height, width = reader.size
    for rows, kept_rows in tiling.spans(height):
        for columns, kept_columns in tiling.spans(width):
            yield segment(reader.read(rows, columns))[kept_rows, kept_columns]


def write_label_tiff(
    path: Path,
    tiles: Iterable[np.ndarray],
    size: Size,
    tile: Size,
    palette: Sequence[Sequence[int]],
) -> None:
    """Write class indices as an 8-bit TIFF with the RGB colors of ``palette``, tile by tile.

    The image has (height, width) ``size``, tiles have ``tile``, multiples of 16. Raises an
    InputError if there are labels above 255 or the file cannot be written.
    """
    import tifffile

    with replacing(path) as partial:
        tifffile.imwrite(
            partial,
            (label_bytes(labels, path) for labels in tiles),
            shape=size,
            dtype=np.uint8,
            # Offsets of 32 bits reach to 4 GB, and tiles that do not compress take some more.
            bigtiff=size[0] * size[1] > 2**31,
            photometric="palette",
            # as TIFF has them: 16 bits, one row for each channel
            colormap=full_palette(palette).T.astype(np.uint16) * 257,
            tile=tile,
            compression="zlib",
            maxworkers=1,  # more would take tiles ahead of time
            metadata=None,
        )
