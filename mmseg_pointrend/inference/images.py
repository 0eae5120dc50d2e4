"""What a model takes and gives: image files, segmentations, label maps and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..errors import InputError
from ..files import check_image, replacing

# What to do with the images that people try most.
PILLOW = "Of Pillow's images take np.asarray(image.convert('RGB'))[..., ::-1]."


@dataclass
class Segmentation:
    """The segmentation of one image.

    Attributes:
        labels (np.ndarray): Class indices, (H, W), int64.
        logits (np.ndarray, optional): Logits, (C, H, W), float32, where they were asked for.
        points (list[np.ndarray], optional): The points of each rendering step, (N, 2), float32,
            (x, y) in [0, 1] over the image, where they were asked for.
    """

    labels: np.ndarray
    logits: np.ndarray | None = None
    points: list[np.ndarray] | None = None


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as OpenCV and MMSegmentation do: BGR, (H, W, 3), uint8.

    Images are turned as their EXIF says, transparency is dropped, and of 16 bits the upper 8 are
    kept.

    Raises:
        InputError: If the file cannot be read, or :func:`~mmseg_pointrend.files.check_image`
            refuses it.
    """
    try:
        content = Path(path).read_bytes()
        check_image(content, path)
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}.") from error
    except cv2.error as error:
        raise InputError(f"{path}: cannot be decoded ({' '.join(str(error).split())}).") from error
    if image is None:
        raise InputError(f"{path}: not an image that OpenCV can decode, or not a whole one.")
    return image


def check_rgb_array(image: np.ndarray) -> None:
    """Raise InputError unless an array is a color image, (H, W, 3), uint8."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"An image must be an array, got {type(image).__name__}. {PILLOW}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            f"An image must be an array (H, W, 3), BGR, uint8, got shape {image.shape} and type "
            f"{image.dtype}."
        )


def label_bytes(labels: np.ndarray, path: Path) -> np.ndarray:
    """Class indices as uint8; an InputError names ``path`` if there are some above 255."""
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

    Raises:
        InputError: If there are labels above 255, or the file cannot be written.
    """
    image = Image.fromarray(label_bytes(labels, path))
    image.putpalette(full_palette(palette).tobytes())
    with replacing(path) as partial:
        image.save(partial, "PNG")


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write a BGR image, (H, W, 3), uint8, as JPEG if it is called .jpg, else as PNG.

    Raises:
        InputError: If it is larger than a JPEG can be, or the file cannot be written.
    """
    with replacing(path) as partial:
        picture = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
        picture.save(partial, "JPEG" if path.suffix == ".jpg" else "PNG", quality=92)
