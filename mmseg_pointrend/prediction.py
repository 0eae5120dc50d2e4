"""Predicting files."""

from collections.abc import Iterable
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .errors import InputError
from .images import find_images, read_image, write_jpeg, write_label_png, write_png
from .inferencer import PointRendInferencer
from .visualization import explain_figure, figure_to_image, overlay


def predict_files(
    inferencer: PointRendInferencer,
    inputs: Iterable[str],
    out: str | Path,
    show_points: bool = False,
) -> list[str]:
    """Predict image files and write the masks.

    Writes for each image NAME.png, a palette PNG of class indices at the image's own size, and
    NAME_overlay.jpg; images found in a folder keep their place below it. What cannot be read or
    predicted is reported, the others are done all the same.

    Args:
        inferencer (PointRendInferencer): The model.
        inputs (Iterable[str]): Files, folders or glob patterns.
        out (str | Path): Folder to write to.
        show_points (bool): Whether to write NAME_points.png too, the steps of the rendering and
            their points. Defaults to False.

    Returns:
        list[str]: A message for each image that failed.

    Raises:
        InputError: If an input matches nothing, or outputs would overwrite each other or an input.
    """
    images = find_images(inputs)
    out = Path(out)
    _refuse_overwriting(images, out, show_points)
    failures: list[str] = []
    console = Console(stderr=True)
    with Progress(
        TextColumn("predicting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("predict", total=len(images), rate="")
        for path, target in images.items():
            try:
                _predict_file(inferencer, path, out / target, show_points)
            except (InputError, torch.cuda.OutOfMemoryError, MemoryError) as error:
                failures.append(str(error) if isinstance(error, InputError) else f"{path}: {error}")
                # As it is, in one piece: a name may look like markup or be longer than a line.
                message = f"failed {failures[-1]}"
                console.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
            progress.advance(task)
            speed = progress.tasks[0].speed
            progress.update(task, rate=f"{speed:.2f} images/s" if speed else "")
    return failures


def _predict_file(
    inferencer: PointRendInferencer, path: Path, target: Path, show_points: bool
) -> None:
    image = read_image(path)
    if show_points:
        explanation = inferencer.explain(image)
        labels = explanation.labels
        figure = explain_figure(image, explanation, inferencer.palette)
        write_png(target.with_name(f"{target.name}_points.png"), figure_to_image(figure))
    else:
        labels = inferencer.segment(image)
    write_jpeg(
        target.with_name(f"{target.name}_overlay.jpg"), overlay(image, labels, inferencer.palette)
    )
    write_label_png(target.with_name(f"{target.name}.png"), labels, inferencer.palette)


def _refuse_overwriting(images: dict[Path, Path], out: Path, show_points: bool) -> None:
    sources = {path.resolve() for path in images}
    owners: dict[Path, Path] = {}
    for path, target in images.items():
        for ending in (".png", "_overlay.jpg", "_points.png")[: 3 if show_points else 2]:
            written = out / target.with_name(target.name + ending)
            if written.resolve() in sources:
                raise InputError(
                    f"{written} is an input and would be overwritten; choose another --out."
                )
            if owners.setdefault(written, path) != path:
                raise InputError(
                    f"{owners[written]} and {path} would both be written to {written}; predict "
                    "them into different folders."
                )
