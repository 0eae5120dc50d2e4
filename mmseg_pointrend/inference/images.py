"""Reading images, and writing label maps and pictures."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from ..errors import InputError
from ..files import replacing

# 16-bit images of 12-bit cameras stay below this; in 8 bits, 16 grays are left of them.
DARK = 1 << 12
# What to do with the images that people try most.
PILLOW = "Of Pillow's images take np.asarray(image.convert('RGB'))[..., ::-1]."


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as OpenCV and MMSegmentation do: BGR, (H, W, 3), uint8.

    Images are turned as their EXIF says. Gray ones and those with a palette become color,
    transparency is dropped, and of 16 bits the upper 8 are kept. Raises an InputError if the file
    cannot be read, is not whole, or has 16 bits of which only the lower 12 are in use.
    """
    refuse_truncated(path)
    try:
        image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise InputError(f"{path}: cannot be decoded ({' '.join(str(error).split())}).") from error
    if image is None:
        raise InputError(f"{path}: not an image that OpenCV can decode, or not a whole one.")
    refuse_dark(image, path)
    return image


def refuse_truncated(path: str | Path) -> None:
    """Raise an InputError if a file cannot be opened, is empty, or is a JPEG without its end.

    Decoders of other formats raise an error themselves; of a JPEG OpenCV makes up what is missing.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(3)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}.") from error
    if not start:
        raise InputError(f"{path}: the file is empty.")
    if start == b"\xff\xd8\xff":
        try:
            with JpegImageFile(path) as image:
                image.draft("L", (1, 1))  # an eighth of the size is enough to get to the end
                image.load()
        except (OSError, SyntaxError) as error:
            raise InputError(f"{path}: the JPEG is truncated or broken ({error}).") from error


def refuse_dark(image: np.ndarray, path: str | Path) -> None:
    """Raise an InputError if an image that was read with 8 bits, uint8, is nearly black because its
    file has 12 bits in 16."""
    if image.dtype == np.uint8 and image.size and image.max() < DARK >> 8:
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if stored is not None and stored.dtype == np.uint16:
            refuse_12_bits(int(stored.max()), path)


def refuse_12_bits(largest: int, path: str | Path) -> None:
    """Raise an InputError if the largest value of a 16-bit image is below 4096, and not 0."""
    if 0 < largest < DARK:
        raise InputError(
            f"{path}: a 16-bit image with values up to {largest} only is nearly black; scale it to "
            "0..65535 or save it with 8 bits."
        )


def check_rgb_array(image: np.ndarray) -> None:
    """Raise an InputError unless an array is a color image, (H, W, 3), uint8."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"An image must be an array, got {type(image).__name__}. {PILLOW}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            f"An image must be an array (H, W, 3), BGR, uint8, got shape {image.shape} and type "
            f"{image.dtype}."
        )


def label_bytes(labels: np.ndarray, path: Path) -> np.ndarray:
    """Class indices as uint8; raises an InputError that names ``path`` for those above 255."""
    if labels.size and labels.max() > 255:
        raise InputError(f"{path}: label {labels.max()} does not fit into an 8-bit image.")
    return labels.astype(np.uint8, copy=False)


def full_palette(palette: Sequence[Sequence[int]]) -> np.ndarray:
    """RGB colors for all 8-bit labels, (256, 3), uint8: black beyond those of ``palette``."""
    colors = np.zeros((256, 3), dtype=np.uint8)
    colors[: len(palette)] = np.asarray(palette)[:256]
    return colors


def write_label_png(path: Path, labels: np.ndarray, palette: Sequence[Sequence[int]]) -> None:
    """Write class indices, (H, W), as an 8-bit PNG with the RGB colors of ``palette``.

    Raises an InputError if there are labels above 255, or the file cannot be written.
    """
    image = Image.fromarray(label_bytes(labels, path))
    image.putpalette(full_palette(palette).tobytes())
    with replacing(path) as partial:
        image.save(partial, "PNG")


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write a BGR image, (H, W, 3), uint8, as JPEG if it is called .jpg, else as PNG.

    Raises an InputError if it is larger than a JPEG can be, or the file cannot be written.
    """
    with replacing(path) as partial:
        picture = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
        picture.save(partial, "JPEG" if path.suffix == ".jpg" else "PNG", quality=92)
