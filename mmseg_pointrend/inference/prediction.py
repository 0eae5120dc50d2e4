"""Predicting files."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .images import read_image, write_label_png, write_picture
from .inputs import find_images
from .overlay import overlay
from .progress import progress_bar
from .tiff import write_label_tiff
from .tiling import Tiling, predict_tiles

if TYPE_CHECKING:
    from .inferencer import PointRendInferencer


def predict_files(
    inferencer: "PointRendInferencer",
    inputs: Iterable[str],
    out: str | Path,
    show_points: bool = False,
    batch_size: int = 1,
    tiling: Tiling | None = None,
) -> list[str]:
    """Predict image files and write the masks.

    Writes for each image NAME.png, a palette PNG of class indices at the image's own size, and
    NAME_overlay.jpg; images found in a folder keep their place below it. What cannot be read or
    predicted is reported, the others are done all the same.

    Args:
        inferencer (PointRendInferencer): The model.
        inputs (Iterable[str]): Files, folders or glob patterns.
        out (str | Path): Folder to write to. Nothing is written outside of it.
        show_points (bool): Whether to write NAME_points.png too, the steps of the rendering and
            their points. Defaults to False.
        batch_size (int): Images that are read, and those of one size predicted, together. Defaults
            to 1.
        tiling (Tiling, optional): How to cut images that are too large to be predicted at once.
            Instead of the other files NAME.tif is written, tile by tile. Defaults to None.

    Returns:
        list[str]: A message for each image that failed.

    Raises:
        InputError: If an input matches nothing, outputs would overwrite each other or an input or
            leave ``out``, or the settings exclude each other.
    """
    if batch_size < 1:
        raise InputError(f"--batch-size {batch_size}: a batch has at least one image.")
    if tiling is not None and (show_points or batch_size > 1):
        raise InputError("--tile goes with neither --show-points nor --batch-size.")
    if show_points and not inferencer.can_explain:
        raise InputError("--show-points needs a checkpoint; exported models tell no points.")
    if tiling is not None:
        _refuse_resizing(inferencer, tiling, (tiling.tile, tiling.tile))
    images, out = find_images(inputs), Path(out)
    endings = (".tif",) if tiling else (".png", "_overlay.jpg", "_points.png")[: 2 + show_points]
    _refuse_bad_targets(images, out, endings)
    jobs = iter([(path, out / target) for path, target in images.items()])
    failures: list[str] = []
    with progress_bar(len(images)) as bar:
        while batch := [*islice(jobs, batch_size)]:
            if tiling is None:
                failed = _predict_whole(inferencer, batch, show_points)
            else:
                failed = _predict_tiled(inferencer, batch, tiling)
            for message in failed:
                bar.say(f"failed {message}")
            bar.advance(len(batch))
            failures += failed
    return failures


def _predict_tiled(
    inferencer: "PointRendInferencer", jobs: Sequence[tuple[Path, Path]], tiling: Tiling
) -> list[str]:
    """Predict and write images; returns what failed."""
    failures: list[str] = []
    for path, target in jobs:
        with _noting(failures, path):
            tiles = predict_tiles(inferencer.segment, path, tiling)
            window = tiling.window(tiles.size)
            if window != tiles.size:
                _refuse_resizing(inferencer, tiling, window)
            write_label_tiff(_with_ending(target, ".tif"), tiles, inferencer.palette)
    return failures


def _predict_whole(
    inferencer: "PointRendInferencer", jobs: Sequence[tuple[Path, Path]], show_points: bool
) -> list[str]:
    """Read, predict and write images; returns what failed."""
    failures: list[str] = []
    images: dict[tuple[Path, Path], np.ndarray] = {}
    for path, target in jobs:
        with _noting(failures, path):
            images[path, target] = read_image(path)
    labels: dict[tuple[Path, Path], np.ndarray] = {}
    if show_points:
        for (path, target), image in images.items():
            with _noting(failures, path):
                labels[path, target] = _explain(inferencer, image, target)
    else:
        labels = _segment(inferencer, images, failures)
    for (path, target), mask in labels.items():
        with _noting(failures, path):
            painted = overlay(images[path, target], mask, inferencer.palette)
            write_picture(_with_ending(target, "_overlay.jpg"), painted)
            write_label_png(_with_ending(target, ".png"), mask, inferencer.palette)
    return failures


def _segment(
    inferencer: "PointRendInferencer",
    images: dict[tuple[Path, Path], np.ndarray],
    failures: list[str],
) -> dict[tuple[Path, Path], np.ndarray]:
    """Labels of images, without those that cannot be predicted, which are noted."""
    if len(images) > 1:
        try:
            found = inferencer.segment_batch([*images.values()])
            return {job: result.labels for job, result in zip(images, found, strict=True)}
        except (InputError, MemoryError):
            pass  # which of them it was shows one by one
    labels = {}
    for (path, target), image in images.items():
        with _noting(failures, path):
            labels[path, target] = inferencer.segment(image)
    return labels


def _explain(inferencer: "PointRendInferencer", image: np.ndarray, target: Path) -> np.ndarray:
    """Draw how the labels of an image come about, and return them."""
    # not at the top: exported models go without Matplotlib and PyTorch
    from ..visualization import explain_figure, figure_to_image

    explanation = inferencer.explain(image)
    figure = explain_figure(image, explanation, inferencer.palette)
    write_picture(_with_ending(target, "_points.png"), figure_to_image(figure))
    return explanation.labels


@contextmanager
def _noting(failures: list[str], path: Path) -> Iterator[None]:
    """Note what goes wrong with an image, instead of raising it."""
    try:
        yield
    except (InputError, MemoryError) as error:
        reason = str(error) or "not enough memory."
        name = str(InputError(str(path)))  # as it is escaped in messages
        failures.append(reason if reason.startswith(name) else f"{name}: {reason}")


def _with_ending(target: Path, ending: str) -> Path:
    return target.with_name(target.name + ending)


def _refuse_resizing(
    inferencer: "PointRendInferencer", tiling: Tiling, window: tuple[int, int]
) -> None:
    """Refuse windows that the model resizes: how sharp an image is seen would depend on them."""
    height, width = seen = inferencer.predictor.input_size(window)
    if seen != window:
        fits = height == width and inferencer.predictor.input_size(seen) == seen
        raise InputError(
            f"--tile {tiling.tile}: the model's test pipeline resizes windows of "
            f"{window[1]}x{window[0]} to {width}x{height} pixels. "
            f"{f'Choose --tile {width}, or use' if fits else 'Use'} a config without Resize in "
            "test_dataloader.dataset.pipeline."
        )


def _refuse_bad_targets(images: dict[Path, Path], out: Path, endings: Sequence[str]) -> None:
    """Refuse outputs that would overwrite each other or an input, or lie outside of ``out``."""
    sources = {path.resolve() for path in images}
    owners: dict[Path, Path] = {}
    for path, target in images.items():
        if not (out / target).parent.resolve().is_relative_to(out.resolve()):
            raise InputError(
                f"{out / target.parent} is a link that leads out of {out}; choose another --out."
            )
        for ending in endings:
            written = out / _with_ending(target, ending)
            if written.resolve() in sources:
                raise InputError(
                    f"{written} is an input and would be overwritten; choose another --out."
                )
            if owners.setdefault(written, path) != path:
                raise InputError(
                    f"{owners[written]} and {path} would both be written to {written}; predict "
                    "them into different folders."
                )
