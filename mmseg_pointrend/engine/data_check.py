"""A hook that compares a model with its data."""

from collections.abc import Sequence

import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn

from ..checkpoints.fitting import bare_segmentor
from ..errors import InputError


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Compare a model with its data: the number of classes at the start, every label on the way.

    Raises:
        InputError: If the head and a data set differ in their number of classes, or if a label is
            neither a class nor ``ignore_index``.
    """

    def before_train(self, runner: Runner) -> None:
        _check_classes(runner.model, runner.train_dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        _check_classes(runner.model, runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        _check_classes(runner.model, runner.test_dataloader.dataset)

    def _before_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, mode: str = "train"
    ) -> None:
        head = _predicting_head(runner.model)
        samples = data_batch["data_samples"]
        # test-time augmentation gives a batch for each view, all with the same labels
        for sample in samples[0] if isinstance(samples[0], Sequence) else samples:
            if "gt_sem_seg" in sample:
                _check_labels(sample.gt_sem_seg.data, head, sample.get("seg_map_path"))


def _predicting_head(model: nn.Module) -> nn.Module:
    """The decode head that predicts, the last one of a cascade."""
    head = bare_segmentor(model).decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _num_labels(head: nn.Module) -> int:
    """Number of labels that a head tells apart: a sigmoid on one channel tells two."""
    return 2 if head.out_channels == 1 else head.num_classes


def _check_classes(model: nn.Module, dataset: BaseDataset) -> None:
    classes = dataset.metainfo.get("classes")
    head = _predicting_head(model)
    expected = _num_labels(head)
    if classes is not None and len(classes) != expected and head.out_channels == 1:
        raise InputError(
            f"The head has one channel, which tells background (0) and foreground (1) apart; "
            f"{type(dataset).__name__} has {len(classes)} classes ({', '.join(classes[:5])}). Name "
            "both in its metainfo, or give model.decode_head more out_channels."
        )
    if classes is not None and len(classes) != expected:
        raise InputError(
            f"The head has {expected} classes, {type(dataset).__name__} has {len(classes)} "
            f"({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}). "
            f"Set model.decode_head.num_classes={len(classes)} or choose another data set."
        )


def _check_labels(labels: torch.Tensor, head: nn.Module, path: str | None) -> None:
    count = _num_labels(head)
    wrong = labels[((labels < 0) | (labels >= count)) & (labels != head.ignore_index)]
    if len(wrong):
        values = ", ".join(map(str, wrong.unique().tolist()[:5]))
        raise InputError(
            f"{path or 'A label map'} has the label {values}, which is neither one of the "
            f"{count} classes (0 to {count - 1}) nor ignore_index={head.ignore_index}. Correct the "
            "file, map the value in the data set (metainfo, label_map, reduce_zero_label) or set "
            "model.decode_head.num_classes."
        )
