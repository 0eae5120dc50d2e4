"""The images and videos that a user names or hands over."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from .images import PILLOW

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}
VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}

Source = str | PathLike | np.ndarray


def find_images(inputs: Iterable[str | Path], suffix: str = "") -> dict[Path, Path]:
    """Find the images that files, folders and patterns name.

    Links to folders inside of a folder are not followed: they may lead anywhere, or in a circle.

    Args:
        inputs (Iterable[str | Path]): Paths of files, of folders (searched in depth for image
            files) or glob patterns. Videos are found by name or pattern only.
        suffix (str): The suffix of a model's images, such as '.npy'. If it is no usual one, folders
            are searched for it alone. Defaults to ''.

    Returns:
        dict[Path, Path]: For each image, in order, the path of its outputs below the output folder,
        without suffix: its name, or for an image in a folder its path in that folder.

    Raises:
        InputError: If an input matches nothing.
    """
    suffixes = IMAGE_SUFFIXES if suffix in {"", *IMAGE_SUFFIXES} else {suffix}
    found: dict[Path, Path] = {}
    for name in inputs:
        matches = _matches(str(name), suffixes)
        if not matches:
            raise InputError(f"{name}: no such image, or no image in it.")
        found.update({p: target.with_suffix("") for p, target in matches.items()})
    return found


def each_image(images: Source | Iterable[Source], suffix: str = "") -> Iterator[Path | np.ndarray]:
    """Give the files, arrays and frames of videos among ``images`` one by one.

    Nothing is searched for before it is asked for.

    Args:
        images (str | Path | np.ndarray | Iterable): A file, a folder, a glob pattern, an array, or
            any number of these.
        suffix (str): As of :func:`find_images`. Defaults to ''.

    Raises:
        InputError: If one is nothing of that.
    """
    is_one = isinstance(images, Source) or not isinstance(images, Iterable)
    for image in [images] if is_one else images:
        if isinstance(image, np.ndarray):
            yield image
        elif isinstance(image, str | PathLike):
            for path in find_images([image], suffix):
                yield from read_frames(path) if is_video(path) else (path,)
        else:
            raise InputError(
                f"An image must be a path or an array, got {type(image).__name__}. {PILLOW}"
            )


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def count_frames(path: Path) -> int:
    """How many frames a video says it has; 0 if it says nothing."""
    with _video(path) as video:
        return max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Give the frames of a video one by one: BGR, (H, W, 3), uint8.

    Raises:
        InputError: If OpenCV can read none.
    """
    with _video(path) as video:
        is_read, frame = video.read()
        if not is_read:
            raise InputError(f"{path}: not a video that OpenCV can read.")
        while is_read:
            yield frame
            is_read, frame = video.read()


@contextmanager
def _video(path: Path) -> Iterator[cv2.VideoCapture]:
    video = cv2.VideoCapture(str(path))
    try:
        yield video
    finally:
        video.release()


def _matches(name: str, suffixes: set[str]) -> dict[Path, Path]:
    if not name:
        raise InputError("An input is an empty name; name a file, a folder or a pattern.")
    path = Path(name)
    try:
        if path.is_dir():
            members = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes)
            return {p: p.relative_to(path) for p in members if p.is_file()}
        if path.exists():
            return {path: Path(path.name)}
        # Unlike the module glob it does not follow links through "**".
        root = Path(path.anchor)
        files = filter(Path.is_file, sorted(root.glob(str(path.relative_to(root)))))
        return {p: Path(p.name) for p in files}
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{name}: cannot be searched for images ({error}).") from error
