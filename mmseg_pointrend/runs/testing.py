"""Testing a trained model."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from ..checkpoints import check_weights, read_checkpoint
from ..config_errors import config_errors
from ..datasets import check_data_folders, check_loading
from ..errors import InputError
from ..files import check_writable
from ..segmentor import predict_only_labels
from ..settings import check_settings
from ..type_names import type_name
from ..weights.loading import checkpoints_as_data
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

    Returns:
        dict[str, float]: The metrics.

    Raises:
        InputError: If data, checkpoint or config do not fit.
    """
    check_settings(cfg, "test")
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

    if out is None:
        return _run(cfg, state_dict, checkpoint, allow_partial, trust)
    # Each process of a distributed test writes the images that it has seen.
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=out) as partial:
        _write_predictions(cfg, partial)
        metrics = _run(cfg, state_dict, checkpoint, allow_partial, trust)
        for path in Path(partial).iterdir():
            os.replace(path, Path(out) / path.name)
    return metrics


def _run(
    cfg: Config, state_dict: dict, checkpoint: str, allow_partial: bool, trust: bool
) -> dict[str, float]:
    set_hook(cfg, "DataCheckHook")
    set_hook(cfg, "CheckpointCheckHook", allow_partial=allow_partial)
    with checkpoints_as_data(trust), config_errors():
        runner = Runner.from_cfg(cfg)
        check_weights(runner.model, state_dict, checkpoint, allow_partial)
        return runner.test()


def _metrics(cfg: Config) -> Sequence[dict]:
    metrics = cfg.test_evaluator
    return [metrics] if isinstance(metrics, dict) else metrics


def _write_predictions(cfg: Config, folder: str) -> None:
    """Have IoUMetric, whichever of the metrics it is, write the label maps that it scores."""
    for metric in _metrics(cfg):
        if type_name(metric) == "IoUMetric":
            metric.update(output_dir=folder)
            return
    raise InputError("--out needs an IoUMetric in test_evaluator, which writes the predictions.")
