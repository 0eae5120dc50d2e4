"""Testing a trained model."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric

from ..checkpoints.fitting import check_weights, read_checkpoint
from ..checkpoints.loading import checkpoints_as_data
from ..config_errors import config_errors
from ..datasets import check_data_folders, check_loading
from ..errors import InputError
from ..files import check_writable
from ..own_import import import_wherever_loaded
from ..segmentors import predict_only_labels
from ..settings import check_settings
from ..type_names import type_name
from .hooks import set_hook

# Metrics that score labels. What others read of a prediction is not known.
LABEL_METRICS = ("IoUMetric", "BoundaryIoUMetric", "CityscapesMetric")


def run_test(
    cfg: Config,
    checkpoint: str,
    out: str | None = None,
    show_dir: str | None = None,
    tta: bool = False,
    dtype: str = "float32",
    channels_last: bool = False,
    allow_partial: bool = False,
    trust: bool = False,
    report: Hook | None = None,
) -> dict[str, float]:
    """Score a checkpoint on the test set of a config.

    Args:
        cfg (Config): Config of the model and its data; changed in place.
        checkpoint (str): Checkpoint file.
        out (str, optional): Folder for the predicted label maps, PNG files of class indices. Files
            there are replaced when all predictions are made. Defaults to None.
        show_dir (str, optional): Folder for images painted with prediction and truth. Defaults to
            None.
        tta (bool): Whether to average predictions over the config's ``tta_pipeline``. Defaults to
            False.
        dtype (str): Type to predict in, 'float32' or 'bfloat16'. Defaults to 'float32'.
        channels_last (bool): Whether features are laid out pixel by pixel. Defaults to False.
        allow_partial (bool): Whether to go on if the checkpoint lacks weights. Defaults to False.
        trust (bool): Whether to run code that checkpoints carry. Defaults to False.
        report (Hook, optional): A :class:`~mmseg_pointrend.report.ReportHook`, which writes a
            report. Defaults to None.

    Returns:
        dict[str, float]: The metrics.

    Raises:
        InputError: If data, checkpoint or config do not fit.
    """
    check_settings(cfg, "test")
    if cfg.get("test_evaluator") is None:
        raise InputError("The config needs a test_evaluator, such as dict(type='IoUMetric').")
    check_data_folders(cfg.test_dataloader.dataset)
    check_loading(cfg)
    state_dict = read_checkpoint(checkpoint, trust)["state_dict"]
    cfg.load_from, cfg.resume = checkpoint, False
    for folder, option in ((cfg.work_dir, "--work-dir"), (out, "--out"), (show_dir, "--show-dir")):
        if folder is not None:
            check_writable(folder, option)
    if show_dir is not None:
        if "visualizer" not in cfg or "visualization" not in cfg.get("default_hooks", {}):
            raise InputError(
                "--show-dir needs visualizer and default_hooks.visualization in the config."
            )
        # OpenMMLab's hook paints every 50th image unless told otherwise, OneDL's every one.
        cfg.default_hooks.visualization.update(draw=True, interval=1)
        cfg.visualizer.save_dir = show_dir
    if tta:
        if "tta_pipeline" not in cfg or "tta_model" not in cfg:
            raise InputError("--tta needs tta_pipeline and tta_model in the config.")
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = dict(cfg.tta_model, module=cfg.model)
    elif all(type_name(metric) in LABEL_METRICS for metric in _metrics(cfg)):
        predict_only_labels(cfg)
    if dtype != "float32" or channels_last:
        set_hook(cfg, "TypeAndLayoutHook", dtype=dtype, channels_last=channels_last)
    set_hook(cfg, "DataCheckHook")
    set_hook(cfg, "CheckpointCheckHook", allow_partial=allow_partial)
    import_wherever_loaded(cfg)
    if out is not None and not any(type_name(metric) == "IoUMetric" for metric in _metrics(cfg)):
        raise InputError(
            "--out needs an IoUMetric in test_evaluator, which writes the predictions."
        )

    with checkpoints_as_data(trust), config_errors():
        runner = Runner.from_cfg(cfg)
        if report is not None:  # not by the config in the work dir, which others may test again
            runner.register_hook(report)
        check_weights(runner.model, state_dict, checkpoint, allow_partial)
        if out is None:
            return runner.test()
        _refuse_equal_names(runner.test_dataloader.dataset, out)
        # Each process of a distributed test writes the images that it has seen.
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=out) as partial:
            _write_predictions(runner, partial)
            metrics = runner.test()
            for path in Path(partial).iterdir():
                os.replace(path, Path(out) / path.name)
        return metrics


def _metrics(cfg: Config) -> Sequence[dict]:
    metrics = cfg.test_evaluator
    return [metrics] if isinstance(metrics, dict) else metrics


def _write_predictions(runner: Runner, folder: str) -> None:
    """Have IoUMetric write the label maps that it scores.

    Not by way of the config, which lies in the work dir when the folder is gone.
    """
    for metric in runner.test_loop.evaluator.metrics:
        if isinstance(metric, IoUMetric):
            metric.output_dir = folder
            return


def _refuse_equal_names(dataset: BaseDataset, out: str) -> None:
    """Refuse images whose predictions IoUMetric would write to the same file."""
    owners: dict[str, str] = {}
    for index in range(len(dataset)):
        image = dataset.get_data_info(index)["img_path"]
        name = f"{Path(image).stem}.png"
        if name in owners:
            raise InputError(
                f"{owners[name]} and {image} would both be written to {Path(out, name)}; test them "
                "one after the other (test_dataloader.dataset.data_prefix) into different folders."
            )
        owners[name] = image
