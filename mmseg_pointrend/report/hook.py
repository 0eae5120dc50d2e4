"""The hook that watches a test and writes its report."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_gather_object, barrier, get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import nn

from ..checkpoints.fitting import bare_segmentor
from ..decode_head import PointRendHead
from ..engine.data_check import predicting_head
from ..errors import InputError
from ..evaluation import BoundaryIoUMetric
from ..rendering import DenseRenderer
from ..visualization.explanation import explain
from .gallery import Entry, compare, keep, write_pictures
from .page import MARKER, describe_run, write_page
from .pictures import photo_of, read_labels
from .scores import Scorer


class ReportHook(Hook):
    """Write a report that compares the labels of a test with others.

    They are compared with those of the coarse head, as ``subdivision_steps=0`` gives them, if the
    model has a :class:`PointRendHead`, and with predictions on disk if there are any. Each image is
    predicted once more for the former.

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
        if self.folder.exists() and not _is_replaceable(self.folder):
            raise InputError(
                f"{folder}: exists and is not a report; choose another --report folder."
            )
        self.against = None if against is None else Path(against)
        if self.against is not None and not self.against.is_dir():
            raise InputError(f"{against}: no such folder; --against is one that --out wrote.")
        self.images = images
        # What is not complete lies beside the folder, which is replaced at the end.
        self.partial = self.folder.absolute().with_name(f".{self.folder.name}.partial")
        self.entries: dict[str, Entry] = {}
        self.kept: list[Entry] = []
        self.num_steps = 0

    def before_test(self, runner: Runner) -> None:
        if isinstance(runner.model, BaseTTAModel):
            raise InputError("--report compares single predictions; leave out --tta.")
        self.model = bare_segmentor(runner.model)
        head = predicting_head(runner.model)
        self.is_pointrend = isinstance(head, PointRendHead)
        if self.is_pointrend and not isinstance(head.renderer, DenseRenderer):
            raise InputError(f"--report needs a DenseRenderer, got {type(head.renderer).__name__}.")
        if not self.is_pointrend and self.against is None:
            raise InputError(
                f"--report needs labels to compare with, and a model with {type(head).__name__} "
                "has no coarse head; give the predictions of another model with --against."
            )
        dataset = runner.test_loop.dataloader.dataset
        if len(dataset) == 0:
            raise InputError("--report needs images, and the test set has none.")
        if self.against is not None:
            _check_names(self.against, [dataset.get_data_info(k) for k in range(len(dataset))])
        self.names = ["Coarse head"] if self.is_pointrend else []
        self.names += [self.against.name] if self.against is not None else []
        self.names.append("PointRend" if self.is_pointrend else type(head).__name__)

        num_classes = 2 if self.model.out_channels == 1 else self.model.num_classes
        self.classes = dataset.metainfo.get("classes") or range(num_classes)
        self.classes = [str(name) for name in self.classes]
        self.palette = (dataset.metainfo.get("palette") or [])[: len(self.classes)]
        if len(self.palette) < len(self.classes):
            self.palette = np.random.default_rng(0).integers(40, 256, (len(self.classes), 3))
        self.scorer = Scorer(self.classes, _boundary_metric(runner))
        self.is_rgb = bool(runner.cfg.model.get("data_preprocessor", {}).get("rgb_to_bgr"))
        if is_main_process():
            shutil.rmtree(self.partial, ignore_errors=True)
            (self.partial / "images").mkdir(parents=True, exist_ok=True)
        barrier()

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[SegDataSample]
    ) -> None:
        final = [_labels(sample) for sample in outputs]
        if self.is_pointrend:
            coarse = predict_coarse(self.model, data_batch)
        for k, sample in enumerate(outputs):
            maps = [coarse[k]] if self.is_pointrend else []
            if self.against is not None:
                offset = int(bool(sample.get("reduce_zero_label")))
                path = self.against / f"{Path(sample.img_path).stem}.png"
                maps.append(read_labels(path, final[k].shape, len(self.classes), offset))
            truth = sample.gt_sem_seg.data[0].cpu().numpy() if "gt_sem_seg" in sample else None
            maps.append(final[k])
            stem = f"{get_rank()}_{len(self.entries):05d}"
            entry = compare(sample.img_path, stem, maps, truth, self.scorer)
            self.entries[entry.path] = entry
            self.kept = keep(self.kept, entry, self.images)
            if any(entry is other for other in self.kept):
                data = {name: values[k : k + 1] for name, values in data_batch.items()}
                self._write_pictures(entry, data, maps, truth)

    def after_test(self, runner: Runner) -> None:
        gathered = all_gather_object((self.entries, self.kept))
        # Processes see some images twice, to have as many as the others.
        entries = {path: entry for others, _ in gathered for path, entry in others.items()}
        self.kept = []
        for entry in {entry.path: entry for _, kept in gathered for entry in kept}.values():
            self.kept = keep(self.kept, entry, self.images)
        if is_main_process():
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
                [*entries.values()],
                self.kept[::-1],
                self.num_steps,
                run,
                runner.cfg.pretty_text,
            )
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.partial.rename(self.folder)
            size = sum(path.stat().st_size for path in self.folder.rglob("*"))
            print_log(f"Report: {self.folder / 'index.html'} ({size / 1e6:.1f} MB)", "current")
        barrier()

    def _write_pictures(
        self, entry: Entry, data: dict, maps: Sequence[np.ndarray], truth: np.ndarray | None
    ) -> None:
        photo = photo_of(data["inputs"][0].cpu().numpy(), entry.size, self.is_rgb)
        steps = [step.xy for step in explain(self.model, data).steps] if self.is_pointrend else []
        self.num_steps = max(self.num_steps, len(steps))
        folder, ignore_index = self.partial / "images", self.scorer.ignore_index
        write_pictures(folder, entry, photo, maps, truth, steps, self.palette, ignore_index)


@torch.no_grad()
def predict_coarse(model: nn.Module, data: dict) -> list[np.ndarray]:
    """Predict the labels that ``subdivision_steps=0`` gives.

    Args:
        model (nn.Module): An ``EncoderDecoder`` with a :class:`PointRendHead`, in eval mode.
        data (dict): A batch of a test data loader.

    Returns:
        list[np.ndarray]: Labels of each image, (H, W), of the size of the original image.
    """
    head = model.decode_head
    renderer = head.renderer
    head.renderer = DenseRenderer(subdivision_steps=0, align_corners=head.align_corners)
    try:
        batch = model.data_preprocessor(data, training=False)
        # not LabelEncoderDecoder's, which has a renderer of its own
        samples = EncoderDecoder.predict(model, batch["inputs"], batch["data_samples"])
    finally:
        head.renderer = renderer
    return [_labels(sample) for sample in samples]


def _labels(sample: SegDataSample) -> np.ndarray:
    return sample.pred_sem_seg.data[0].cpu().numpy()


def _is_replaceable(folder: Path) -> bool:
    return folder.is_dir() and ((folder / MARKER).is_file() or not any(folder.iterdir()))


def _check_names(folder: Path, images: Sequence[dict]) -> None:
    """Refuse a folder that lacks predictions or has one file for several images."""
    names = [f"{Path(image['img_path']).stem}.png" for image in images]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder}: lacks the predictions of {len(missing)} of {len(names)} images, such as "
            f"{missing[0]}; write them with tools/test.py --out."
        )
    if len(set(names)) < len(names):
        raise InputError(f"{folder}: images of the test set share names; test them separately.")


def _boundary_metric(runner: Runner) -> BoundaryIoUMetric:
    """The config's own, or one that ignores what its other metrics ignore."""
    metrics = runner.test_loop.evaluator.metrics
    own = [metric for metric in metrics if isinstance(metric, BoundaryIoUMetric)]
    ignored = [metric.ignore_index for metric in metrics if hasattr(metric, "ignore_index")]
    return own[0] if own else BoundaryIoUMetric(ignore_index=(*ignored, 255)[0], prefix="report")
