"""Reading images, writing label maps and pictures."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from ..errors import InputError
from ..files import replacing

# 16-bit images of 12-bit cameras stay below this; of 8 bits, nothing but 16 grays is left of them.
DARK = 1 << 12
# What to do with the images that people try most.
PILLOW = "Of Pillow's images take np.asarray(image.convert('RGB'))[..., ::-1]."


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as OpenCV and MMSegmentation do: BGR, (H, W, 3), uint8.

    Images are turned as their EXIF says. Gray images and those with a palette become color,
    transparency is dropped, and of 16 bits the upper 8 are kept.

    Raises:
        InputError: If the file is missing, is no image, is not whole, or has 16 bits of which only
            the lower 12 are in use.
    """
    refuse_truncated(path)
    try:
        image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be decoded ({reason}).") from error
    if image is None:
        raise InputError(f"{path}: not an image that OpenCV can decode, or not a whole one.")
    refuse_dark(image, path)
    return image


def refuse_truncated(path: str | Path) -> None:
    """Refuse a file that cannot be opened, is empty, or is a JPEG without its end.

    Decoders of other formats raise an error themselves; of a JPEG OpenCV makes up what is missing.

    Raises:
        InputError: If it is one of these.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(3)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}.") from error
    if not start:
        raise InputError(f"{path}: the file is empty.")
    if start != b"\xff\xd8\xff":
        return
    try:
        with JpegImageFile(path) as image:
            image.draft("L", (1, 1))  # an eighth of the size is enough to get to the end
            image.load()
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path}: the JPEG is truncated or broken ({error}).") from error


def refuse_dark(image: np.ndarray, path: str | Path) -> None:
    """Refuse an image of 8 bits that is nearly black because its file has 12 bits in 16.

    Args:
        image (np.ndarray): What was read of the file.
        path (str | Path): The file.

    Raises:
        InputError: If all values in the file are below 4096, and not all are 0.
    """
    if image.dtype != np.uint8 or not image.size or image.max() >= DARK >> 8:
        return
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is not None and stored.dtype == np.uint16:
        refuse_12_bits(int(stored.max()), path)


def refuse_12_bits(largest: int, path: str | Path) -> None:
    """Refuse a 16-bit image by its largest value.

    Raises:
        InputError: If it is below 4096, and not 0.
    """
    if 0 < largest < DARK:
        raise InputError(
            f"{path}: a 16-bit image with values up to {largest} only is nearly black; scale it to "
            "0..65535 or save it with 8 bits."
        )


def check_rgb_array(image: np.ndarray) -> None:
    """Refuse an array that is no color image.

    Raises:
        InputError: If it is not (H, W, 3), uint8, or is empty.
    """
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"An image must be an array, got {type(image).__name__}; call the inferencer itself "
            f"for files. {PILLOW}"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            f"An image must be an array (H, W, 3), BGR, uint8, got shape {image.shape} and type "
            f"{image.dtype}."
        )


def as_picture(image: np.ndarray, is_bgr: bool = True) -> np.ndarray:
    """Three bands of any image, to look at.

    Args:
        image (np.ndarray): (H, W) or (H, W, C), of any type.
        is_bgr (bool): Whether its first three bands are blue, green and red rather than red, green
            and blue. Defaults to True.

    Returns:
        np.ndarray: BGR, (H, W, 3), uint8: the image itself if it is that already, else its first
        three bands, or the first one thrice; values of more than 8 bits are scaled band by band.
    """
    bands = image.reshape(*image.shape[:2], -1)
    bands = bands[..., :3] if bands.shape[2] >= 3 else bands[..., [0, 0, 0]]
    if not is_bgr:
        bands = bands[..., ::-1]
    if bands.dtype == np.uint8:
        return np.ascontiguousarray(bands)
    values = np.nan_to_num(bands.astype(np.float32), posinf=0, neginf=0)
    low, high = np.percentile(values, (2, 98), axis=(0, 1))
    scaled = (values - low) / np.maximum(high - low, 1e-12)
    return (255 * scaled.clip(0, 1)).astype(np.uint8)


def write_label_png(path: Path, labels: np.ndarray, palette: Sequence[Sequence[int]]) -> None:
    """Write class indices, (H, W), as an 8-bit palette PNG; ``palette`` has an RGB color each.

    Raises:
        InputError: If there are labels above 255, or the file cannot be written.
    """
    refuse_large_labels(labels, path)
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(full_palette(palette).tobytes())
    _save(image, path)


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


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write a BGR image, (H, W, 3), uint8, as PNG or JPEG, as its suffix says.

    Raises:
        InputError: If it is larger than a JPEG can be, or the file cannot be written.
    """
    _save(Image.fromarray(np.ascontiguousarray(image[..., ::-1])), path, quality=92)


def _save(image: Image.Image, path: Path, **settings: int) -> None:
    kind = "JPEG" if path.suffix == ".jpg" else "PNG"
    with replacing(path) as partial:
        image.save(partial, kind, **settings)
