"""The images that a user names or hands over."""

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import InputError
from .images import read_image

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}

# What to do with the images that people try most.
PILLOW = "Of Pillow's images take np.asarray(image.convert('RGB'))[..., ::-1]."

Source = str | PathLike | np.ndarray


def find_images(inputs: Iterable[str | Path]) -> dict[Path, Path]:
    """Find the images that files, folders and patterns name.

    Links to folders inside of a folder are not followed: they may lead anywhere, or in a circle.

    Args:
        inputs (Iterable[str | Path]): Paths of files, of folders (searched in depth for image
            files) or glob patterns.

    Returns:
        dict[Path, Path]: For each image, in order, the path of its outputs below the output folder,
        without suffix: its name, or for an image in a folder its path in that folder.

    Raises:
        InputError: If an input matches nothing.
    """
    found: dict[Path, Path] = {}
    for name in inputs:
        matches = _matches(str(name))
        if not matches:
            raise InputError(f"{name}: no such image, or no image in it.")
        found.update({p: target.with_suffix("") for p, target in matches.items()})
    return found


def each_image(images: Source | Iterable[Source]) -> Iterator[np.ndarray]:
    """Give images one by one, and read none before it is asked for.

    Args:
        images (str | Path | np.ndarray | Iterable): A file, a folder, a glob pattern, an array, or
            any number of these.

    Yields:
        np.ndarray: BGR image, (H, W, 3), uint8; arrays are given as they are.

    Raises:
        InputError: If one is nothing of that, or cannot be read.
    """
    if isinstance(images, np.ndarray):
        yield images
    elif isinstance(images, str | PathLike):
        yield from map(read_image, find_images([images]))
    elif isinstance(images, Iterable):
        for image in images:
            if isinstance(image, Iterable) and not isinstance(image, str | np.ndarray):
                raise InputError(
                    f"An image is a path or an array, not a {type(image).__name__}. {PILLOW}"
                )
            yield from each_image(image)
    else:
        raise InputError(f"Images are paths or arrays, not a {type(images).__name__}. {PILLOW}")


def check_array(image: np.ndarray) -> None:
    """Refuse an array that is no image.

    Raises:
        InputError: If it is not (H, W, 3), uint8, or is empty.
    """
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"A {type(image).__name__} is no array; call the inferencer itself for files. {PILLOW}"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            f"An array of shape {image.shape} and type {image.dtype} is no image; it has to be "
            "(H, W, 3), BGR, uint8."
        )


def _matches(name: str) -> dict[Path, Path]:
    if not name:
        raise InputError("An input is an empty name; name a file, a folder or a pattern.")
    path = Path(name)
    try:
        if path.is_dir():
            members = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            return {p: p.relative_to(path) for p in members if p.is_file()}
        if path.exists():
            return {path: Path(path.name)}
        # Unlike the module glob it does not follow links through "**".
        root = Path(path.anchor)
        files = filter(Path.is_file, sorted(root.glob(str(path.relative_to(root)))))
        return {p: Path(p.name) for p in files}
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{name}: cannot be searched for images ({error}).") from error
