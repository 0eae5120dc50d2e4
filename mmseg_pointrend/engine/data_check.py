"""A hook that compares a model with its data."""

import logging
from collections.abc import Sequence

import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.models import SegDataPreProcessor
from mmseg.registry import HOOKS
from torch import Tensor, nn

from ..checkpoints.fitting import bare_segmentor
from ..errors import InputError
from ..models.losses import check_losses

NUM_IMAGES = 200  # in training, after which labels that never occurred are reported


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Compare a model with its data.

    The number of classes and the losses are checked at the start, every label on the way. A
    warning says which classes never occurred, with the likely cause: after 200 training images,
    after the first validation and after a test.

    Raises:
        InputError: If the number of classes, a loss or a label does not fit the model, or the
            images of a batch in validation or testing have several sizes.
    """

    def __init__(self) -> None:
        self._labels: dict[str, LabelStatistics] = {}

    def before_train(self, runner: Runner) -> None:
        check_losses(runner.model)

    def _before_epoch(self, runner: Runner, mode: str = "train") -> None:
        _check_classes(runner.model, _dataset(runner, mode))

    def _before_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, mode: str = "train"
    ) -> None:
        samples = data_batch["data_samples"]
        if isinstance(samples[0], Sequence):
            samples = samples[0]  # test-time augmentation: a batch for each view, labels alike
        elif mode != "train":
            _check_sizes(runner.model, data_batch.get("inputs", ()), mode)
        head = predicting_head(runner.model)
        labels = self._labels.setdefault(
            mode, LabelStatistics(_num_labels(head), head.ignore_index)
        )
        for sample in samples:
            if "gt_sem_seg" in sample:
                labels.add(sample.gt_sem_seg.data, sample)
        if mode == "train" and labels.num_images >= NUM_IMAGES:
            self._after_epoch(runner)

    def _after_epoch(self, runner: Runner, mode: str = "train") -> None:
        labels = self._labels.get(mode)
        if labels is None or labels.is_reported:
            return
        labels.is_reported = True
        warning = labels.warning(_dataset(runner, mode).metainfo.get("classes"))
        if warning is not None:
            line = f"{mode}_dataloader: {warning}"
            print_log(line, logger="current", level=logging.WARNING)


class LabelStatistics:
    """Labels of the images that a model has seen, counted until ``is_reported`` is set."""

    def __init__(self, num_classes: int, ignore_index: int) -> None:
        self.num_images = 0
        self.is_reported = False
        self._num_classes = num_classes
        self._ignore_index = ignore_index
        self._num_ignored = 0
        self._pixels = torch.zeros(num_classes, dtype=torch.int64)
        self._reduces_zero_label = False

    def add(self, labels: Tensor, meta: dict) -> None:
        """Count the labels of an image; refuse one that is neither a class nor ignored."""
        scored = labels[labels != self._ignore_index]
        wrong = scored[(scored < 0) | (scored >= self._num_classes)]
        if len(wrong):
            raise self._wrong_label(int(wrong.min()), meta.get("seg_map_path"))
        if not self.is_reported:
            self.num_images += 1
            self._num_ignored += labels.numel() - len(scored)
            self._pixels += torch.bincount(scored, minlength=self._num_classes)
            self._reduces_zero_label = bool(meta.get("reduce_zero_label"))

    def warning(self, classes: Sequence[str] | None) -> str | None:
        """What is unusual about the labels so far, with the likely cause; None if nothing is."""
        if not self.num_images:
            return None
        ignore_index = self._ignore_index
        ignored = self._num_ignored / (self._num_ignored + int(self._pixels.sum()))
        missing = [i for i, n in enumerate(self._pixels) if n == 0 and i != ignore_index]
        if ignored >= 0.95:
            problem = f"{100 * ignored:.1f} % of the pixels of {self.num_images} images are ignored"
        elif missing:
            names = [f"{classes[index]} ({index})" if classes else str(index) for index in missing]
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            found = f"{', '.join(names[:5])}{more}"
            problem = f"in {self.num_images} images no pixel is of the class {found}"
        else:
            return None
        if self._reduces_zero_label:
            cause = (
                "reduce_zero_label=True ignores 0 and makes 1 the first class; if 0 is a class, "
                "set reduce_zero_label=False in the data set."
            )
        elif self._num_ignored:
            cause = (
                f"The label files hold {ignore_index}, which is ignore_index; if it is a class "
                f"there, as in masks of 0 and {ignore_index}, set value_map={{{ignore_index}: 1}} "
                "in LoadCheckedAnnotations."
            )
        else:
            cause = "Check that the label files hold the indices of the classes."
        return f"{problem}. {cause}"

    def _wrong_label(self, label: int, path: str | None) -> InputError:
        count = self._num_classes
        shift = "reduce_zero_label=True in the data set if 0 is unlabeled, " * (label == count)
        return InputError(
            f"{path or 'A label map'} has the label {label}, which is neither one of the {count} "
            f"classes (0 to {count - 1}) nor ignore_index={self._ignore_index}. Save class "
            f"indices, or set {shift}value_map={{{label}: CLASS}} in LoadCheckedAnnotations or "
            "model.decode_head.num_classes."
        )


def _dataset(runner: Runner, mode: str) -> BaseDataset:
    return getattr(runner, f"{mode}_dataloader").dataset


def predicting_head(model: nn.Module) -> nn.Module:
    """The decode head that predicts, the last one of a cascade."""
    head = bare_segmentor(model).decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _num_labels(head: nn.Module) -> int:
    """Number of labels that a head tells apart: a sigmoid on one channel tells two."""
    return 2 if head.out_channels == 1 else head.num_classes


def _check_sizes(model: nn.Module, images: Sequence[Tensor], mode: str) -> None:
    sizes = {tuple(image.shape[-2:]) for image in images}
    if len(sizes) > 1 and isinstance(bare_segmentor(model).data_preprocessor, SegDataPreProcessor):
        found = " and ".join(f"{height}x{width}" for height, width in sorted(sizes)[:3])
        raise InputError(
            f"{mode}_dataloader: images of a batch must have one size, got {found} (height x "
            f"width); set {mode}_dataloader.batch_size=1."
        )


def _check_classes(model: nn.Module, dataset: BaseDataset) -> None:
    classes, expected = dataset.metainfo.get("classes"), _num_labels(predicting_head(model))
    if classes is None or len(classes) == expected:
        return
    name = type(getattr(dataset, "dataset", dataset)).__name__
    raise InputError(
        f"The head has {expected} classes, {name} has {len(classes)}. Set "
        f"model.decode_head.num_classes={len(classes)} (out_channels=1 is for two classes, "
        "background and foreground) or choose another data set."
    )
