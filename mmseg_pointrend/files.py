"""Image files that are whole, and writing that leaves no half of a file. Needs no PyTorch."""

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from .errors import InputError

# Starts of segments in a JPEG, and its end: not what scans have in them.
JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
JPEG_END = b"\xff\xd9"


def check_image(content: bytes, path: str | Path, keeps_16_bits: bool = False) -> None:
    """Raise InputError at the content of an image file that decodes, but not to what it shows.

    That is a truncated JPEG, which OpenCV fills up with gray, or what :func:`check_depth` refuses,
    unless what loads it keeps 16 bits; and an empty file.
    """
    if not content:
        raise InputError(f"{path} cannot be read as an image (the file is empty).")
    if content.startswith(b"\xff\xd8\xff") and not _has_end(content):
        raise InputError(f"{path} cannot be read as an image (the JPEG is truncated).")
    if not keeps_16_bits and _may_have_16_bits(content):
        flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        if image is not None and image.dtype == np.uint16:
            check_depth(int(image.max()), path)


def check_depth(largest: int, path: str | Path) -> None:
    """Raise InputError if the largest value of a 16-bit image is below 4096, and not 0."""
    if 0 < largest < 4096:  # as of 12-bit cameras
        raise InputError(
            f"{path} has 16 bits and values up to {largest} only, so that its upper eight bits are "
            "nearly black; scale it to 0..65535, save it with 8 bits, or load it with "
            "color_type='unchanged' and a data_preprocessor that normalizes its range."
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file beside ``path``, which it replaces when the block ends well.

    The folder of ``path`` is made if need be. What a kill leaves is replaced the next time. Raises
    an InputError if the file cannot be written.
    """
    # The name is cut: with the suffix it may otherwise be longer than file systems allow.
    number = zlib.crc32(os.fsencode(path.name))
    partial = path.with_name(f".{path.name[:40]}.{number:08x}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        partial.touch(exist_ok=False)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _has_end(jpeg: bytes) -> bool:
    """Whether a JPEG is whole; ends of previews lie inside of segments."""
    marker = JPEG_MARKER.search(jpeg, 2)
    while marker and marker[0] != JPEG_END:
        length = int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
        marker = JPEG_MARKER.search(jpeg, marker.end() + length)
    return marker is not None


def _may_have_16_bits(content: bytes) -> bool:
    if content.startswith(b"\x89PNG"):
        return content[24:25] == b"\x10"
    return content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # any TIFF
