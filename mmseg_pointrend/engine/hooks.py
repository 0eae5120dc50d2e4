"""Hooks that stop a run before bad data, bad weights or a diverged loss can spoil it."""

import math
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn

from ..checkpoints.fitting import accept_incomplete_weights, check_weights
from ..datasets import SeededDataset
from ..errors import InputError
from ..type_names import type_name
from ..wrappers import last_decode_head


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Compare a model with its data: the number of classes at the start, every label on the way.

    Raises:
        InputError: If the head and a data set differ in their number of classes, or if a label is
            neither a class nor ``ignore_index``.
    """

    def before_train(self, runner: Runner) -> None:
        dataset = runner.train_dataloader.dataset
        own = dataset.dataset if isinstance(dataset, SeededDataset) else dataset
        _check_classes(runner.model, own)

    def before_val(self, runner: Runner) -> None:
        _check_classes(runner.model, runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        _check_classes(runner.model, runner.test_dataloader.dataset)

    def _before_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, mode: str = "train"
    ) -> None:
        head = last_decode_head(runner.model)
        samples = data_batch["data_samples"]
        # test-time augmentation gives a batch for each view, all with the same labels
        for sample in samples[0] if isinstance(samples[0], Sequence) else samples:
            if "gt_sem_seg" in sample:
                _check_labels(sample.gt_sem_seg.data, head, sample.get("seg_map_path"))


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Compare a checkpoint with the model before its weights are taken.

    MMEngine goes on with what fits and leaves the rest as it was initialized.

    Args:
        allow_partial (bool): Whether to warn instead of refusing. Defaults to False.

    Raises:
        InputError: If weights other than those of the point head are missing, have other shapes or
            no place in the model.
    """

    def __init__(self, allow_partial: bool = False) -> None:
        self.allow_partial = allow_partial

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        check_weights(
            runner.model,
            checkpoint.get("state_dict", checkpoint),
            runner.cfg.get("load_from") or "The checkpoint",
            self.allow_partial,
            fresh_point_head=True,
        )

    def before_train(self, runner: Runner) -> None:
        if self.allow_partial:
            accept_incomplete_weights(runner.model)

    def before_test(self, runner: Runner) -> None:
        if self.allow_partial:
            accept_incomplete_weights(runner.model)


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stop training at the first NaN or infinite loss, before its weights reach a checkpoint.

    Raises:
        FloatingPointError: With the iteration, the losses in question and what usually helps.
    """

    priority = "ABOVE_NORMAL"

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict
    ) -> None:
        # One transfer from the device for all of them, and one wait for it.
        on_device = [value for value in outputs.values() if isinstance(value, torch.Tensor)]
        device = on_device[0].device if on_device else "cpu"
        values = [torch.as_tensor(value, device=device).detach() for value in outputs.values()]
        values = torch.stack([value.float() for value in values]).cpu()
        invalid = [
            f"{name}={value}"
            for name, value in zip(outputs, values.tolist(), strict=True)
            if not math.isfinite(value)
        ]
        # The gradients of one process are in the weights of all, which rank 0 may be about to save.
        found = torch.tensor([float(bool(invalid))])
        all_reduce(found, "max")
        if found:
            where = ", ".join(invalid) or "that of another process"
            raise FloatingPointError(
                f"Loss is not finite at iteration {runner.iter + 1}: {where}. Nothing "
                "was saved after it; lower the learning rate, clip gradients "
                "(optim_wrapper.clip_grad) or look at this iteration's images, then --resume."
            )


def set_hook(cfg: Config, kind: str, **settings: object) -> None:
    """Give a run a hook, in place of any other of that type.

    Args:
        cfg (Config): Config of the run; changed in place.
        kind (str): Registered name of the hook.
        **settings: Its arguments.
    """
    others = [hook for hook in cfg.get("custom_hooks", []) if type_name(hook) != kind]
    cfg.custom_hooks = [*others, dict(type=kind, **settings)]


def _num_labels(head: nn.Module) -> int:
    """Number of labels that a head tells apart: a sigmoid on one channel tells two."""
    return 2 if head.out_channels == 1 else head.num_classes


def _check_classes(model: nn.Module, dataset: BaseDataset) -> None:
    classes = dataset.metainfo.get("classes")
    head = last_decode_head(model)
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
