"""Predicting files."""

from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
from rich.console import Console
from rich.progress import Progress

from ..errors import InputError
from .images import as_picture, overlay, write_label_png, write_picture
from .inferencer import check_batch_size
from .inputs import find_images, is_video, read_frames
from .tiling import Tiling, WindowReader, predict_tiles, write_label_tiff

if TYPE_CHECKING:
    from .inferencer import PointRendInferencer

Job = tuple[Path, Path]  # an image or a video, and what its outputs are called without endings


def predict_files(
    inferencer: "PointRendInferencer",
    inputs: Iterable[str],
    out: str | Path,
    show_points: bool = False,
    batch_size: int = 1,
    tiling: Tiling | None = None,
) -> list[str]:
    """Predict image files and videos, and write the masks.

    Writes for each image NAME.png, a palette PNG of class indices at the image's own size, and
    NAME_overlay.jpg; with ``show_points`` NAME_points.png too, the steps of the rendering and their
    points; with a ``tiling`` NAME.tif alone, tile by tile. Images found in a folder keep their
    place below it. Of a video it writes a mask for each frame, NAME/000000.png and so on.

    Returns a message for each image that failed; the others are done all the same. Raises an
    InputError if an input matches nothing, outputs would overwrite each other or an input, or the
    settings exclude each other.
    """
    check_batch_size(batch_size)
    if tiling is not None:
        if show_points or batch_size > 1:
            raise InputError("--tile goes with neither --show-points nor --batch-size.")
        _require_rgb_loading(inferencer, "--tile reads")
    targets = find_images(inputs, inferencer.predictor.suffix)
    jobs = [(path, Path(out) / target) for path, target in targets.items()]
    videos = [job for job in jobs if is_video(job[0])]
    if videos and (tiling is not None or show_points):
        raise InputError(f"--tile and --show-points are for images, not for {videos[0][0]}.")
    endings = (".tif",) if tiling else (".png", "_overlay.jpg", "_points.png")[: 2 + show_points]
    _check_targets(jobs, endings)

    def predict(batch: Sequence[Job]) -> None:
        path, target = batch[0]
        if is_video(path):
            _require_rgb_loading(inferencer, f"{path}: a video has")
            for k, result in enumerate(inferencer.iterate(read_frames(path), batch_size)):
                write_label_png(target / f"{k:06d}.png", result.labels, inferencer.palette)
        elif tiling is not None:
            reader = WindowReader(path)
            tiles = predict_tiles(inferencer.segment, reader, tiling)
            shape = reader.size, tiling.kept(reader.size)
            write_label_tiff(Path(f"{target}.tif"), tiles, *shape, inferencer.palette)
        else:
            _predict_images(inferencer, batch, show_points)

    images = [job for job in jobs if not is_video(job[0])]
    waiting = deque([video] for video in videos)
    waiting.extend(images[k : k + batch_size] for k in range(0, len(images), batch_size))
    failures = []
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("predicting", total=len(jobs))
        while waiting:
            batch = waiting.popleft()
            try:
                predict(batch)
            except (InputError, MemoryError) as error:
                if len(batch) > 1:  # one by one, to find out which it is
                    waiting.extendleft([job] for job in reversed(batch))
                    continue
                failures.append(_describe(error, batch[0][0]))
                # As it is, in one piece: a name may look like markup or be longer than a line.
                plain = dict(markup=False, highlight=False, soft_wrap=True)
                bar.console.print(f"failed {failures[-1]}", style="red", **plain)
            bar.advance(task, len(batch))
    return failures


def _describe(error: Exception, path: Path) -> str:
    """The message of an error, which begins with the path."""
    reason = str(error) or "not enough memory."
    name = str(InputError(str(path)))  # as it is escaped in messages
    return reason if reason.startswith(name) else f"{name}: {reason}"


def _predict_images(
    inferencer: "PointRendInferencer", batch: Sequence[Job], show_points: bool
) -> None:
    images = [inferencer.predictor.load(path) for path, _ in batch]
    if show_points:
        found = [inferencer.explain(image) for image in images]
    else:
        found = inferencer.segment_batch(images)
    for (_, target), image, result in zip(batch, images, found, strict=True):
        labels, palette = result.labels, inferencer.palette
        write_label_png(Path(f"{target}.png"), labels, palette)
        picture = as_picture(image["img"], inferencer.predictor.is_bgr)
        picture = cv2.resize(picture, labels.shape[::-1])  # loading steps may have resized it
        write_picture(Path(f"{target}_overlay.jpg"), overlay(picture, labels, palette))
        if show_points:
            # not at the top: exported models go without Matplotlib and PyTorch
            from ..visualization.figure import explain_figure, figure_to_image

            strip = figure_to_image(explain_figure(picture, result, palette))
            write_picture(Path(f"{target}_points.png"), strip)


def _require_rgb_loading(inferencer: "PointRendInferencer", subject: str) -> None:
    if obstacle := inferencer.predictor.obstacle:
        raise InputError(
            f"{subject} RGB images of 8 bits, but the test pipeline loads with {obstacle}."
        )


def _check_targets(jobs: Sequence[Job], endings: Sequence[str]) -> None:
    """Refuse outputs that would overwrite an input or each other."""
    taken = {path.resolve() for path, _ in jobs}
    for path, target in jobs:
        for ending in ("",) if is_video(path) else endings:
            written = Path(f"{target}{ending}")
            if written.resolve() in taken:
                raise InputError(
                    f"{path} would be written to {written}, which is an input or the output of "
                    "another; choose another --out, or predict them into different folders."
                )
            taken.add(written.resolve())
