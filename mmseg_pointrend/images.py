"""Finding, reading and writing of image files."""

import glob
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .errors import InputError
from .files import replacing

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}


def find_images(inputs: Iterable[str]) -> dict[Path, Path]:
    """Find the images that files, folders and patterns name.

    Args:
        inputs (Iterable[str]): Paths of files, of folders (searched in depth for image files) or
            glob patterns.

    Returns:
        dict[Path, Path]: For each image, in order, the path of its outputs below the output folder,
        without suffix: its name, or for an image in a folder its path in that folder.

    Raises:
        InputError: If an input matches nothing, or two images would write the same output.
    """
    found: dict[Path, Path] = {}
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            members = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            matches = {p: p.relative_to(path) for p in members if p.is_file()}
        elif path.exists():
            matches = {path: Path(path.name)}
        else:
            files = filter(Path.is_file, map(Path, sorted(glob.glob(name, recursive=True))))
            matches = {p: Path(p.name) for p in files}
        if not matches:
            raise InputError(f"{name}: no such image, or no image in it.")
        found.update({p: target.with_suffix("") for p, target in matches.items()})

    owners: dict[Path, Path] = {}
    for path, target in found.items():
        if owners.setdefault(target, path) != path:
            raise InputError(
                f"{owners[target]} and {path} would both be written to {target}.png; predict them "
                "into different folders."
            )
    return found


def read_image(path: Path) -> np.ndarray:
    """Read an image file as OpenCV has it: BGR, (H, W, 3), uint8, turned as its EXIF says.

    Raises:
        InputError: If the file cannot be read or is no image.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}.") from error
    if not content:
        raise InputError(f"{path}: the file is empty.")
    try:
        if content.startswith(b"\xff\xd8"):
            # OpenCV 4 fills up a truncated JPEG with gray and says nothing; Pillow refuses it.
            Image.open(io.BytesIO(content)).load()
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, OSError) as error:
        raise InputError(f"{path}: cannot be decoded ({error}).") from error
    if image is None:
        raise InputError(f"{path}: not an image that can be decoded.")
    return image


def write_label_png(path: Path, labels: np.ndarray, palette: Sequence[Sequence[int]]) -> None:
    """Write class indices, (H, W), as an 8-bit palette PNG; ``palette`` has an RGB color each.

    Raises:
        InputError: If there are labels above 255.
    """
    if labels.size and labels.max() > 255:
        raise InputError(f"{path}: label {labels.max()} does not fit into an 8-bit PNG.")
    image = Image.fromarray(labels.astype(np.uint8)).convert("P")
    # All 256 colors: with fewer, Pillow cuts the indices to as few bits as the palette needs.
    image.putpalette(np.asarray(palette, dtype=np.uint8).tobytes().ljust(3 * 256, b"\0"))
    with replacing(path) as partial:
        image.save(partial, format="PNG")


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write a BGR image, (H, W, 3), uint8, as a JPEG."""
    ok, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 92))
    if not ok:
        raise InputError(f"{path}: an image of {image.shape} cannot be written as JPEG.")
    with replacing(path) as partial:
        partial.write_bytes(data.tobytes())


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a BGR image, (H, W, 3), uint8, as a PNG."""
    with replacing(path) as partial:
        partial.write_bytes(cv2.imencode(".png", image)[1].tobytes())
