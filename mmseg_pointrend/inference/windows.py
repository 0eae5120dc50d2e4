"""Reading windows of image files that do not fit into memory."""

import os
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import check_depth


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
            for strictness in ("error", "warning"):
                source = pyvips.Source.new_from_descriptor(descriptor)
                image = pyvips.Image.new_from_source(source, "", fail_on=strictness)
                # Of tiles that are missing libvips only warns; PNG files have harmless warnings.
                if not image.get("vips-loader").startswith("tiff"):
                    break
            # Of other colors OpenCV and libvips would make different ones.
            is_known = image.interpretation in ("srgb", "rgb", "rgb16", "b-w", "grey16")
            if image.format not in ("uchar", "ushort") or not is_known:
                raise InputError(
                    f"{path}: --tile reads RGB or gray images of 8 or 16 bits, got "
                    f"{image.interpretation} of {image.format}."
                )
            if image.format == "ushort":
                check_depth(int(image.max()), path)
            self._image = image.autorot().colourspace("srgb")
        except pyvips.Error as error:
            raise self._unreadable(error) from error
        finally:
            os.close(descriptor)
        self.size = (self._image.height, self._image.width)

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """A window of the image, BGR, (bottom - top, right - left, 3), uint8; InputError if that
        part of the file cannot be decoded."""
        try:
            pixels = self._image.crop(left, top, right - left, bottom - top).numpy()
        except self._error as error:
            raise self._unreadable(error) from error
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if pixels.shape[2] < 3:
            pixels = pixels[..., [0, 0, 0]]
        return np.ascontiguousarray(pixels[..., 2::-1])

    def _unreadable(self, error: Exception) -> InputError:
        reason = "; ".join(line.strip(" ;") for line in str(error).splitlines() if line.strip())
        return InputError(
            f"{self._path}: not a whole image that libvips can decode ({reason}); try it without "
            "--tile, or save it as TIFF, PNG or JPEG."
        )
