"""Reading windows of image files that do not fit into memory."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .images import refuse_12_bits

if TYPE_CHECKING:
    import pyvips

# libvips' names of pixels with 8 and 16 bits, and of colors that it reads as OpenCV does.
_BYTE, _SHORT = "uchar", "ushort"
_RGB_OR_GRAY = ("srgb", "rgb", "rgb16", "b-w", "grey16")


class WindowReader:
    """Reads windows of an image as :func:`read_image` reads the whole.

    Tiled TIFF files are read in place. libvips unpacks others first, above 100 MB to a file in the
    folder for temporary files, TMPDIR, which is as large as the image's pixels.

    Args:
        path (Path): The image file.

    Attributes:
        size (tuple[int, int]): (height, width), turned as its EXIF says.

    Raises:
        InputError: If the file cannot be read, or pyvips is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import pyvips
        except (ImportError, OSError) as error:
            raise InputError(
                "--tile needs pyvips: pip install 'mmseg-pointrend[tiles]'."
            ) from error
        self._path, self._error = path, pyvips.Error
        try:
            # By its descriptor: in names libvips looks for options, as in "a[1].tif".
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}.") from error
        try:
            image = pyvips.Image.new_from_source(
                pyvips.Source.new_from_descriptor(descriptor), "", fail_on="error"
            )
            if image.get("vips-loader").startswith("tiff"):
                # Of tiles that are not there libvips only warns. Not so for all files: some PNG
                # files have color profiles that are worth a warning and change nothing.
                image = pyvips.Image.new_from_source(
                    pyvips.Source.new_from_descriptor(descriptor), "", fail_on="warning"
                )
            self._image = _as_rgb(image, path)
        except pyvips.Error as error:
            raise self._unreadable(error) from error
        finally:
            os.close(descriptor)
        self.size = (self._image.height, self._image.width)

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Read the rows from ``top`` to ``bottom`` and the columns from ``left`` to ``right``.

        Returns:
            np.ndarray: BGR window, (bottom - top, right - left, 3), uint8.

        Raises:
            InputError: If that part of the file cannot be decoded.
        """
        try:
            pixels = self._image.crop(left, top, right - left, bottom - top).numpy()
        except self._error as error:
            raise self._unreadable(error) from error
        if pixels.ndim == 2 or pixels.shape[2] < 3:
            pixels = np.repeat(pixels.reshape(*pixels.shape[:2], -1)[..., :1], 3, axis=2)
        return np.ascontiguousarray(pixels[..., 2::-1])

    def _unreadable(self, error: Exception) -> InputError:
        reason = "; ".join(line.strip(" ;") for line in str(error).splitlines() if line.strip())
        return InputError(
            f"{self._path}: not a whole image that libvips can decode ({reason}); try it without "
            "--tile, or save it as TIFF, PNG or JPEG."
        )


def _as_rgb(image: "pyvips.Image", path: Path) -> "pyvips.Image":
    """Turn an image as its EXIF says and bring it to 8 bits, each part of it when it is read."""
    if image.format not in (_BYTE, _SHORT):
        raise InputError(f"{path}: pixels are {image.format}; save them with 8 or 16 bits.")
    if image.interpretation not in _RGB_OR_GRAY:
        # OpenCV and libvips would make other colors of them.
        raise InputError(
            f"{path}: colors are {image.interpretation}; save them as RGB to predict in tiles."
        )
    if image.format == _SHORT:
        refuse_12_bits(int(image.max()), path)
    return image.autorot().colourspace("srgb")
