"""Predicting files."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import Progress

from ..errors import InputError
from .images import write_label_png, write_picture
from .inputs import count_frames, find_images, is_video, read_frames
from .overlay import as_picture, overlay
from .tiling import Tiling, predict_tiles, write_label_tiff

if TYPE_CHECKING:
    from .inferencer import PointRendInferencer

Job = tuple[Path, Path]  # an image, and what its outputs are called without their endings


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
    NAME_overlay.jpg; images found in a folder keep their place below it. Of a video it writes a
    mask for each frame, NAME/000000.png and so on.

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
        list[str]: A message for each image that failed; the others are done all the same.

    Raises:
        InputError: If an input matches nothing, outputs would overwrite each other or an input or
            leave ``out``, or the settings exclude each other.
    """
    if batch_size < 1:
        raise InputError(f"--batch-size must be an integer >= 1, got {batch_size}.")
    if show_points and not inferencer.can_explain:
        raise InputError("--show-points needs a checkpoint; exported models do not tell points.")
    if tiling is not None:
        if show_points or batch_size > 1:
            raise InputError("--tile goes with neither --show-points nor --batch-size.")
        _require_rgb_loading(inferencer, "--tile reads")
        _require_own_size(inferencer, tiling, (tiling.tile, tiling.tile))
    images, out = find_images(inputs, inferencer.predictor.suffix), Path(out)
    videos = [path for path in images if is_video(path)]
    if videos and (tiling is not None or show_points):
        raise InputError(f"--tile and --show-points are for images, not for {videos[0]}.")
    endings = (".tif",) if tiling else (".png", "_overlay.jpg", "_points.png")[: 2 + show_points]
    _check_targets(images, out, endings)
    with Progress(console=Console(stderr=True)) as bar:
        total = len(images) - len(videos) + sum(map(count_frames, videos))
        run = _Run(inferencer, bar, total)
        for path in videos:
            run.predict_video((path, out / images.pop(path)), batch_size)
        jobs = ((path, out / target) for path, target in images.items())
        while batch := [*islice(jobs, batch_size)]:
            if tiling is None:
                run.predict_whole(batch, show_points)
            else:
                run.predict_tiled(batch[0], tiling)
    return run.failures


class _Run:
    """A call of :func:`predict_files`: its model, what is shown, and what has failed."""

    def __init__(self, inferencer: "PointRendInferencer", bar: Progress, total: int) -> None:
        self.inferencer = inferencer
        self.failures: list[str] = []
        self._bar = bar
        self._task = bar.add_task("predicting", total=total)

    def predict_tiled(self, job: Job, tiling: Tiling) -> None:
        path, target = job
        with self._noting(path):
            tiles = predict_tiles(self.inferencer.segment, path, tiling)
            window = tiling.window(tiles.size)
            if window != tiles.size:
                _require_own_size(self.inferencer, tiling, window)
            write_label_tiff(_with_ending(target, ".tif"), tiles, self.inferencer.palette)
        self._bar.advance(self._task)

    def predict_video(self, job: Job, batch_size: int) -> None:
        path, target = job
        with self._noting(path):
            _require_rgb_loading(self.inferencer, f"{path}: a video has")
            frames, done = read_frames(path), 0
            while batch := [*islice(frames, batch_size)]:
                for result in self.inferencer.segment_batch(batch):
                    mask = target / f"{done:06d}.png"
                    write_label_png(mask, result.labels, self.inferencer.palette)
                    done += 1
                self._bar.advance(self._task, len(batch))
            if done < count_frames(path):
                self._say(f"{path}: only {done} of {count_frames(path)} frames can be read.")

    def predict_whole(self, jobs: Sequence[Job], show_points: bool) -> None:
        images: dict[Job, dict] = {}
        for job in jobs:
            with self._noting(job[0]):
                images[job] = self.inferencer.load(job[0])
        together = {} if show_points else self._segment_together(images)
        for (path, target), image in images.items():
            with self._noting(path):
                picture = as_picture(image["img"], self.inferencer.predictor.is_bgr)
                if show_points:
                    labels = self._explain(image, picture, target)
                elif (path, target) in together:
                    labels = together[path, target]
                else:
                    labels = self.inferencer.segment(image)
                write_label_png(_with_ending(target, ".png"), labels, self.inferencer.palette)
                if picture.shape[:2] == labels.shape:
                    painted = overlay(picture, labels, self.inferencer.palette)
                    write_picture(_with_ending(target, "_overlay.jpg"), painted)
                else:
                    self._say(f"{path}: no overlay, its mask has another size than its bands.")
        self._bar.advance(self._task, len(jobs))

    def _segment_together(self, images: dict[Job, dict]) -> dict[Job, np.ndarray]:
        """Labels of a batch, or nothing: one by one shows which image fails."""
        try:
            found = self.inferencer.segment_batch([*images.values()]) if len(images) > 1 else []
        except (InputError, MemoryError):
            return {}
        return {job: result.labels for job, result in zip(images, found, strict=False)}

    def _explain(self, image: dict, picture: np.ndarray, target: Path) -> np.ndarray:
        """Draw how the labels of an image come about, and return them."""
        # not at the top: exported models go without Matplotlib and PyTorch
        from ..visualization import explain_figure, figure_to_image

        explanation = self.inferencer.explain(image)
        figure = explain_figure(picture, explanation, self.inferencer.palette)
        write_picture(_with_ending(target, "_points.png"), figure_to_image(figure))
        return explanation.labels

    @contextmanager
    def _noting(self, path: Path) -> Iterator[None]:
        """Note what goes wrong with an image, instead of raising it."""
        try:
            yield
        except (InputError, MemoryError) as error:
            reason = str(error) or "not enough memory."
            name = str(InputError(str(path)))  # as it is escaped in messages
            self.failures.append(reason if reason.startswith(name) else f"{name}: {reason}")
            self._say(f"failed {self.failures[-1]}")

    def _say(self, message: str) -> None:
        # As it is, in one piece: a name may look like markup or be longer than a line.
        print_line = self._bar.console.print
        print_line(message, style="red", markup=False, highlight=False, soft_wrap=True)


def _with_ending(target: Path, ending: str) -> Path:
    return target.with_name(target.name + ending)


def _require_rgb_loading(inferencer: "PointRendInferencer", subject: str) -> None:
    if obstacle := inferencer.predictor.obstacle:
        raise InputError(
            f"{subject} RGB images of 8 bits, but the test pipeline loads with {obstacle}."
        )


def _require_own_size(
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


def _check_targets(images: dict[Path, Path], out: Path, endings: Sequence[str]) -> None:
    """Refuse outputs that would overwrite each other or an input, or lie outside of ``out``."""
    sources = {path.resolve() for path in images}
    owners: dict[Path, Path] = {}
    for path, target in images.items():
        if not (out / target).parent.resolve().is_relative_to(out.resolve()):
            raise InputError(
                f"{out / target.parent} is a link that leads out of {out}; choose another --out."
            )
        for ending in ("",) if is_video(path) else endings:
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
