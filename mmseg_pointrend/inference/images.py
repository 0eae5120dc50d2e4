"""Reading and writing of image files, with NumPy and OpenCV alone."""

import binascii
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from ..files import replacing

# What 16-bit images of 12-bit cameras stay below: read as 16 bits, they are nearly black.
DARK = 1 << 12
# Markers of a JPEG that stand alone: fill bytes, TEM and restarts.
_ALONE = {0x00, 0x01, 0xFF, *range(0xD0, 0xD8)}
_END_OF_IMAGE = 0xD9
# Signature and header chunk of a PNG.
_PNG_HEADER = 8 + 25


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as OpenCV has it: BGR, (H, W, 3), uint8, turned as its EXIF says.

    Gray images and those with a palette become color, transparency is dropped, and of 16 bits the
    upper 8 are kept.

    Raises:
        InputError: If the file cannot be read, is no image, is not whole, or has values that would
            be lost: floating-point numbers, or 16 bits of which only the lower 12 are in use.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}.") from error
    if not content:
        raise InputError(f"{path}: the file is empty.")
    # OpenCV 4 fills up a truncated JPEG with gray and says nothing.
    if content.startswith(b"\xff\xd8") and not _ends(content):
        raise InputError(f"{path}: the JPEG is truncated; fetch or save it again.")
    try:
        depth_and_color = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), depth_and_color)
    except cv2.error as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be decoded ({reason}).") from error
    if image is None:
        raise InputError(f"{path}: not an image that can be decoded, or not a whole one.")
    return to_8_bits(image, path)


def to_8_bits(image: np.ndarray, path: str | Path) -> np.ndarray:
    """Keep the upper 8 bits of an image of 16; ``path`` names it in errors.

    Raises:
        InputError: If it has another type, or uses the lower 12 bits alone.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype != np.uint16:
        raise InputError(f"{path}: pixels are {image.dtype}; save them with 8 or 16 bits.")
    refuse_dark(int(image.max()), path)
    return (image >> 8).astype(np.uint8)


def refuse_dark(largest: int, path: str | Path) -> None:
    """Refuse a 16-bit image whose largest value says that it does not use its 16 bits.

    Raises:
        InputError: If it is not black and stays below 4096.
    """
    if 0 < largest < DARK:
        raise InputError(
            f"{path}: a 16-bit image with values up to {largest} only is nearly black; scale it to "
            "0..65535 or save it with 8 bits."
        )


def write_label_png(path: Path, labels: np.ndarray, palette: Sequence[Sequence[int]]) -> None:
    """Write class indices, (H, W), as an 8-bit palette PNG; ``palette`` has an RGB color each.

    Raises:
        InputError: If there are labels above 255, or the file cannot be written.
    """
    refuse_large_labels(labels, path)
    gray = _encoded(".png", labels.astype(np.uint8), path)
    # OpenCV writes no palettes. All else of an 8-bit gray PNG is that of one with a palette.
    width, height = struct.unpack(">II", gray[16:24])
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
    colors = _chunk(b"PLTE", full_palette(palette).tobytes())
    _write(path, gray[:8] + header + colors + gray[_PNG_HEADER:])


def refuse_large_labels(labels: np.ndarray, path: Path) -> None:
    """Refuse labels that do not fit into 8 bits.

    Raises:
        InputError: If there are any.
    """
    if labels.size and labels.max() > 255:
        raise InputError(f"{path}: label {labels.max()} does not fit into an 8-bit image.")


def full_palette(palette: Sequence[Sequence[int]]) -> np.ndarray:
    """RGB colors for all 8-bit labels, (256, 3), uint8: black beyond those of ``palette``."""
    colors = np.zeros((256, 3), dtype=np.uint8)
    colors[: len(palette)] = np.asarray(palette)[:256]
    return colors


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write a BGR image, (H, W, 3), uint8, as a JPEG.

    Raises:
        InputError: If it is larger than a JPEG can be, or the file cannot be written.
    """
    _write(path, _encoded(".jpg", image, path, (cv2.IMWRITE_JPEG_QUALITY, 92)))


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a BGR image, (H, W, 3), uint8, as a PNG.

    Raises:
        InputError: If the file cannot be written.
    """
    _write(path, _encoded(".png", image, path))


def _encoded(suffix: str, image: np.ndarray, path: Path, settings: Sequence[int] = ()) -> bytes:
    try:
        ok, data = cv2.imencode(suffix, image, settings)
    except cv2.error:
        ok = False
    if not ok:
        height, width = image.shape[:2]
        raise InputError(f"{path}: {width}x{height} pixels cannot be written as {suffix[1:]}.")
    return data.tobytes()


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = binascii.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def _ends(jpeg: bytes) -> bool:
    """Whether a JPEG has its end: that of the image itself, not that of a preview within it."""
    position = 2
    while True:
        position = jpeg.find(b"\xff", position)
        if position < 0 or position + 4 > len(jpeg):
            return position >= 0 and jpeg[position + 1 : position + 2] == bytes([_END_OF_IMAGE])
        marker = jpeg[position + 1]
        if marker == _END_OF_IMAGE:
            return True
        # Segments are passed over with the previews in them; scans go on behind theirs.
        length = 0 if marker in _ALONE else struct.unpack_from(">H", jpeg, position + 2)[0]
        position += (1 if marker == 0xFF else 2) + length
