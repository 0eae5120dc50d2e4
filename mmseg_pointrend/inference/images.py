"""What a model takes and gives: image files, segmentations, label maps and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..errors import InputError
from ..files import check_image, replacing


@dataclass
class Segmentation:
    """The segmentation of one image."""

    labels: np.ndarray  # class indices, (H, W), int64
    logits: np.ndarray | None = None  # (C, H, W), float32, where they were asked for


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as OpenCV and MMSegmentation do: BGR, (H, W, 3), uint8.

    Images are turned as their EXIF says, transparency is dropped, and of 16 bits the upper 8 are
    kept. Raises an InputError if the file cannot be read or ``check_image`` refuses it.
    """
    try:
        content = Path(path).read_bytes()
        check_image(content, path)
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())}).") from error
    if image is None:
        raise InputError(f"{path}: not an image that OpenCV can decode, or not a whole one.")
    return image


def check_rgb_array(image: np.ndarray) -> None:
    """Raise InputError unless an image is an array, (H, W, 3), uint8."""
    shape, dtype = getattr(image, "shape", ()), getattr(image, "dtype", type(image).__name__)
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise InputError(
            f"An image must be an array (H, W, 3), BGR, uint8, got {dtype} of shape {shape}."
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
    """Write class indices, (H, W), as an 8-bit PNG with the RGB colors of ``palette``."""
    image = Image.fromarray(label_bytes(labels, path))
    image.putpalette(full_palette(palette).tobytes())
    with replacing(path) as partial:
        image.save(partial, "PNG")


def as_picture(image: np.ndarray, is_bgr: bool = True) -> np.ndarray:
    """A BGR picture, (H, W, 3), uint8, of an image, (H, W) or (H, W, C), of any type.

    Shows the first three channels, or the first one thrice. Other types than uint8 are scaled, each
    channel from its 2nd to its 98th percentile.
    """
    bands = image.reshape(*image.shape[:2], -1)
    bands = bands[..., :3] if bands.shape[2] >= 3 else bands[..., [0, 0, 0]]
    if not is_bgr:
        bands = bands[..., ::-1]
    if bands.dtype != np.uint8:
        values = np.nan_to_num(bands.astype(np.float32), posinf=0, neginf=0)
        low, high = np.percentile(values, (2, 98), axis=(0, 1))
        bands = (255 * ((values - low) / np.maximum(high - low, 1e-12)).clip(0, 1)).astype(np.uint8)
    return np.ascontiguousarray(bands)


def colorize(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Paint class indices, (H, W), in the RGB colors of ``palette``, others black: BGR, (H, W, 3),
    uint8."""
    colors = np.array([*palette, (0, 0, 0)], dtype=np.uint8)[:, ::-1]
    known = (labels >= 0) & (labels < len(palette))
    return colors[np.where(known, labels, len(palette))]


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], opacity: float = 0.5
) -> np.ndarray:
    """Paint a label map, (H, W), over its BGR image, (H, W, 3), uint8, with weight ``opacity``."""
    return cv2.addWeighted(image, 1 - opacity, colorize(labels, palette), opacity, 0)


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write a BGR image, (H, W, 3), uint8, as JPEG if it is called .jpg, else as PNG."""
    with replacing(path) as partial:
        picture = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
        picture.save(partial, "JPEG" if path.suffix == ".jpg" else "PNG", quality=92)
