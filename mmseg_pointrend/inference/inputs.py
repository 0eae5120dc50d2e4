"""The images and videos that a user names or hands over."""

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}
VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}

Source = str | PathLike | np.ndarray


def find_images(inputs: Iterable[str | Path], suffix: str = "") -> dict[Path, Path]:
    """Find the images and videos that files, folders and patterns name.

    Folders are searched in depth for images, or for ``suffix`` alone if a model's images have an
    unusual one, such as '.npy'. Links to folders inside of them are not followed: they may lead in
    a circle. An input that matches nothing is an InputError.

    Returns for each image, in order, its name or its path in the folder, without suffix.
    """
    suffixes = IMAGE_SUFFIXES if suffix in {"", *IMAGE_SUFFIXES} else {suffix}
    found: dict[Path, Path] = {}
    for name in map(str, inputs):
        try:
            matches = _matches(name, suffixes) if name else {}
        except (OSError, ValueError, NotImplementedError) as error:
            raise InputError(f"{name}: cannot be searched for images ({error}).") from error
        if not matches:
            raise InputError(f"{name or 'An empty name'}: no such image, or no image in it.")
        found.update({path: target.with_suffix("") for path, target in matches.items()})
    return found


def each_image(images: Source | Iterable[Source], suffix: str = "") -> Iterator[Path | np.ndarray]:
    """Give the files, arrays and frames of videos among ``images`` one by one, when asked for.

    ``images`` is a file, a folder, a glob pattern, an array, or any number of these; ``suffix`` is
    that of :func:`find_images`.
    """
    is_one = isinstance(images, Source) or not isinstance(images, Iterable)
    for image in [images] if is_one else images:
        if isinstance(image, np.ndarray):
            yield image
        elif isinstance(image, str | PathLike):
            for path in find_images([image], suffix):
                yield from read_frames(path) if is_video(path) else (path,)
        else:
            raise InputError(f"An image must be a path or an array, got {type(image).__name__}.")


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Give the frames of a video one by one: BGR, (H, W, 3), uint8."""
    video = cv2.VideoCapture(str(path))
    is_read, frame = video.read()
    if not is_read:
        raise InputError(f"{path}: not a video that OpenCV can read.")
    while is_read:
        yield frame
        is_read, frame = video.read()


def _matches(name: str, suffixes: set[str]) -> dict[Path, Path]:
    """The files that an input names, with their paths in the folder that it names, if it does."""
    path = Path(name)
    if path.is_dir():
        members = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes)
        return {p: p.relative_to(path) for p in members if p.is_file()}
    if path.exists():
        return {path: Path(path.name)}
    # Unlike the module glob it does not follow links through "**".
    root = Path(path.anchor)
    files = filter(Path.is_file, sorted(root.glob(str(path.relative_to(root)))))
    return {p: Path(p.name) for p in files}
