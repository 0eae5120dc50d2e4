"""The hook that watches a test and writes its report."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.structures import SegDataSample

from ..decode_head import PointRendHead
from ..engine.data_check import predicting_head
from ..errors import InputError
from ..evaluation.boundary_iou_metric import BoundaryIoUMetric
from ..visualization.explanation import explain
from ..visualization.figure import input_picture
from .gallery import Entry, compare, keep, read_labels, write_pictures
from .page import MARKER, describe_run, write_page
from .scores import Scorer


class ReportHook(Hook):
    """Write a report that compares the labels of a test with others.

    They are compared with those of the coarse head, as ``subdivision_steps=0`` gives them, if the
    model has a :class:`PointRendHead`, for which each image is predicted once more, and with
    predictions on disk if there are any. Takes one process.

    Args:
        folder (str): Folder of the report. One that exists must be empty or a report.
        images (int): How many images the gallery has at most: half of them those that gained most,
            half those that lost most. Defaults to 100.
        against (str, optional): Folder that ``tools/test.py --out`` wrote with another model.
            Defaults to None.

    Raises:
        InputError: If the folder has other files in it, there is nothing to compare with, or the
            test set is empty; on the way, if predictions and images do not match.
    """

    priority = "LOW"

    def __init__(self, folder: str, images: int = 100, against: str | None = None) -> None:
        if images < 1:
            raise InputError(f"--report-images must be an integer >= 1, got {images}.")
        self.folder = Path(folder)
        is_replaceable = (self.folder / MARKER).is_file() or not self.folder.exists()
        if not is_replaceable and any(self.folder.iterdir()):
            raise InputError(
                f"{folder}: exists and is not a report; choose another --report folder."
            )
        self.against = None if against is None else Path(against)
        self.images = images
        # What is not complete lies beside the folder, which is replaced at the end.
        self.partial = self.folder.absolute().with_name(f".{self.folder.name}.partial")
        self.entries: list[Entry] = []
        self.kept: list[Entry] = []
        self.num_steps = 0

    def before_test(self, runner: Runner) -> None:
        head = predicting_head(runner.model)
        self.is_pointrend = isinstance(head, PointRendHead)
        if not self.is_pointrend and self.against is None:
            raise InputError(
                f"--report needs labels to compare with, and a model with {type(head).__name__} "
                "has no coarse head; give the predictions of another model with --against."
            )
        self.dataset = runner.test_loop.dataloader.dataset
        if len(self.dataset) == 0:
            raise InputError("--report needs images, and the test set has none.")
        self.names = ["Coarse head"] if self.is_pointrend else []
        self.names += [self.against.name] if self.against is not None else []
        self.names.append("PointRend" if self.is_pointrend else type(head).__name__)
        self.classes = self.dataset.metainfo["classes"]
        self.palette = self.dataset.metainfo["palette"][: len(self.classes)]
        self.scorer = Scorer(self.classes, _boundary_metric(runner))
        shutil.rmtree(self.partial, ignore_errors=True)
        (self.partial / "images").mkdir(parents=True)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[SegDataSample]
    ) -> None:
        for k, sample in enumerate(outputs):
            data = {name: values[k : k + 1] for name, values in data_batch.items()}
            final, maps, steps = sample.pred_sem_seg.data[0].cpu().numpy(), [], []
            if self.is_pointrend:
                explanation = explain(runner.model, data)
                maps.append(explanation.coarse)
                steps = [step.xy for step in explanation.steps]
            if self.against is not None:
                offset = int(bool(sample.get("reduce_zero_label")))
                path = self.against / f"{Path(sample.img_path).stem}.png"
                maps.append(read_labels(path, final.shape, len(self.classes), offset))
            maps.append(final)
            truth = sample.gt_sem_seg.data[0].cpu().numpy() if "gt_sem_seg" in sample else None
            stem = f"{len(self.entries):05d}"
            entry = compare(sample.img_path, stem, maps, truth, self.scorer)
            self.entries.append(entry)
            self.kept = keep(self.kept, entry, self.images)
            self.num_steps = max(self.num_steps, len(steps))
            if any(entry is other for other in self.kept):
                photo = input_picture(data, self.dataset, entry.size)
                folder, ignored = self.partial / "images", self.scorer.ignore_index
                write_pictures(folder, entry, photo, maps, truth, steps, self.palette, ignored)

    def after_test(self, runner: Runner) -> None:
        used = {entry.stem for entry in self.kept}
        for path in (self.partial / "images").iterdir():
            if path.name.partition("-")[0] not in used:
                path.unlink()
        run = describe_run(runner)
        if self.against is not None:
            run["Compared with"] = str(self.against)
        write_page(
            self.partial,
            self.names,
            self.classes,
            self.palette,
            self.entries,
            self.kept[::-1],
            self.num_steps,
            run,
            runner.cfg.pretty_text,
        )
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.partial.rename(self.folder)
        print_log(f"Report: {self.folder / 'index.html'}", "current")


def _boundary_metric(runner: Runner) -> BoundaryIoUMetric:
    """The config's own, or one that ignores what its other metrics ignore."""
    metrics = runner.test_loop.evaluator.metrics
    own = [metric for metric in metrics if isinstance(metric, BoundaryIoUMetric)]
    ignored = [metric.ignore_index for metric in metrics if hasattr(metric, "ignore_index")]
    return own[0] if own else BoundaryIoUMetric(ignore_index=(*ignored, 255)[0], prefix="report")
