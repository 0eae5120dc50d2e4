"""Finding, reading and writing of image files."""

import glob
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .errors import InputError

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
            matches = {Path(p): Path(Path(p).name) for p in sorted(glob.glob(name, recursive=True))}
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
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}.") from error
    if not data.size:
        raise InputError(f"{path}: the file is empty.")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise InputError(f"{path}: cannot be decoded ({error.err or error}).") from error
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
    image.putpalette(np.asarray(palette, dtype=np.uint8).tobytes())
    with _replacing(path) as partial:
        image.save(partial, format="PNG")


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write a BGR image, (H, W, 3), uint8, as a JPEG."""
    ok, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 92))
    if not ok:
        raise InputError(f"{path}: an image of {image.shape} cannot be written as JPEG.")
    with _replacing(path) as partial:
        partial.write_bytes(data.tobytes())


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a BGR image, (H, W, 3), uint8, as a PNG."""
    with _replacing(path) as partial:
        partial.write_bytes(cv2.imencode(".png", image)[1].tobytes())


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file to write beside ``path``, which it replaces only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        partial.unlink(missing_ok=True)
