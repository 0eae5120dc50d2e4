"""Testing a trained model."""

from collections import Counter
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.utils import mkdir_or_exist
from mmseg.evaluation import IoUMetric

from ..checkpoints.fitting import bare_segmentor, check_weights
from ..checkpoints.reading import checkpoints_as_data, read_checkpoint
from ..config import misspelled_names, parts, set_hook, type_name
from ..datasets import check_data_settings
from ..errors import InputError
from ..segmentors import use_label_segmentor
from .alignment import warn_once_if_misaligned
from .precision import set_type_and_layout
from .training import log_missing_parts

# Metrics that score labels. What others read of a prediction is not known.
LABEL_METRICS = {"IoUMetric", "BoundaryIoUMetric", "CityscapesMetric"}


def run_test(
    cfg: Config,
    checkpoint: str,
    out: str | None = None,
    show_dir: str | None = None,
    tta: bool = False,
    logits: bool = False,
    dtype: str = "float32",
    channels_last: bool = False,
    allow_partial: bool = False,
    trust: bool = False,
    report: Hook | None = None,
) -> dict[str, float]:
    """Score a checkpoint on the test set of a config, changed in place, and return the metrics.

    Options are those of ``tools/test.py``; ``report`` is a
    :class:`~mmseg_pointrend.report.hook.ReportHook`. Raises InputError if anything does not fit.
    """
    check_data_settings(cfg, ["test_dataloader"])
    state_dict = read_checkpoint(checkpoint, trust)["state_dict"]
    cfg.load_from, cfg.resume = checkpoint, False
    metrics = {type_name(metric) for metric in parts(cfg.get("test_evaluator"))}
    if out is not None and "IoUMetric" not in metrics:
        raise InputError("test_evaluator must have an IoUMetric for --out, which writes the files.")
    if show_dir is not None:
        _require(cfg, "--show-dir", "visualizer", "default_hooks.visualization")
        # OpenMMLab's hook paints every 50th image unless told otherwise, OneDL's every one.
        cfg.default_hooks.visualization.update(draw=True, interval=1)
        cfg.visualizer.save_dir = show_dir
    if tta:
        _require(cfg, "--tta", "tta_pipeline", "tta_model")
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = dict(cfg.tta_model, module=cfg.model)
    elif not logits and metrics <= LABEL_METRICS:
        use_label_segmentor(cfg)
    if allow_partial:
        set_hook(cfg, "CheckpointCheckHook", allow_partial=True)

    with checkpoints_as_data(trust):
        with misspelled_names():
            runner = Runner.from_cfg(cfg)
            loop = runner.test_loop
        # Not by the config in the work dir, which others may test again.
        if report is not None:
            runner.register_hook(report)
        if dtype != "float32" or channels_last:
            runner.register_hook(TypeAndLayoutHook(getattr(torch, dtype), channels_last))
        if out is not None:
            _refuse_equal_names(loop.dataloader.dataset)
            mkdir_or_exist(out)
            next(m for m in loop.evaluator.metrics if isinstance(m, IoUMetric)).output_dir = out
        log_missing_parts(runner, "test_dataloader")
        warn_once_if_misaligned(bare_segmentor(runner.model))
        check_weights(runner.model, state_dict, checkpoint, allow_partial)
        return runner.test()


class TypeAndLayoutHook(Hook):
    """See :func:`~mmseg_pointrend.engine.precision.set_type_and_layout`."""

    def __init__(self, *type_and_layout: object) -> None:
        self.type_and_layout = type_and_layout

    def before_test(self, runner: Runner) -> None:
        # After the weights are loaded: batch norms are folded and no longer have names.
        set_type_and_layout(runner.model, *self.type_and_layout)


def _require(cfg: Config, option: str, *keys: str) -> None:
    for key in keys:
        part, _, name = key.rpartition(".")
        if not (cfg.get(part, {}) if part else cfg).get(name):
            raise InputError(f"The config must have {key} for {option}.")


def _refuse_equal_names(dataset: BaseDataset) -> None:
    """Refuse images whose predictions IoUMetric would write to the same file."""
    paths = [dataset.get_data_info(index)["img_path"] for index in range(len(dataset))]
    for name, count in Counter(Path(path).stem for path in paths).items():
        if count > 1:
            raise InputError(
                f"{count} images have the name {name}, by which --out names its files; test them "
                "one after the other (test_dataloader.dataset.data_prefix) into other folders."
            )
