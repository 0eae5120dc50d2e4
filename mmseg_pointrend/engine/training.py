"""Training a segmentor."""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn

from ..checkpoints.loading import checkpoints_as_data
from ..config import import_wherever_loaded, misspelled_names, set_hook, type_name
from ..datasets import check_data_settings
from ..errors import InputError
from ..files import check_writable

# What configs/_base_/ names for a run, beside MMSegmentation's own parts. MMSegInferencer looks for
# LoadImageFromFile by name in test pipelines, so only training has LoadCheckedImage.
HOOKS = ("DataCheckHook", "CheckpointCheckHook")
TEST_PARTS = (*HOOKS, "LoadCheckedAnnotations")
TRAIN_PARTS = (*HOOKS, "InvalidLossHook", "IterationSeedHook", "LoadCheckedImage", TEST_PARTS[-1])


def run_training(
    cfg: Config,
    resume: str | None = None,
    amp: bool = False,
    channels_last: bool = False,
    allow_partial: bool = False,
    trust: bool = False,
) -> nn.Module:
    """Train the model of a config.

    Args:
        cfg (Config): Config of a training run; changed in place.
        resume (str, optional): Checkpoint to resume, or 'auto' for the latest one in the work dir,
            if there is any. Defaults to None, a fresh start.
        amp (bool): Whether to train in mixed precision: float16 on a GPU, bfloat16 on a CPU.
            Defaults to False.
        channels_last (bool): Whether to use channels_last memory format. Defaults to False.
        allow_partial (bool): Whether to start from a checkpoint that does not fit the model.
            Defaults to False.
        trust (bool): Whether to run code that checkpoints carry. Defaults to False.

    Returns:
        nn.Module: The trained model.

    Raises:
        InputError: If config, data, checkpoint, work dir or ``amp`` do not fit each other.
    """
    check_data_settings(cfg)
    if amp:
        _enable_amp(cfg)
    if channels_last:
        set_hook(cfg, "ChannelsLastHook")
    if allow_partial:
        set_hook(cfg, "CheckpointCheckHook", allow_partial=True)
    if resume == "auto" or (resume is None and cfg.get("resume") and not cfg.get("load_from")):
        # Without a checkpoint the run starts afresh, from load_from if the config has one.
        cfg.resume, resume = False, _latest_checkpoint(cfg.work_dir)
    if resume is not None:
        cfg.resume, cfg.load_from = True, resume
    import_wherever_loaded(cfg)
    check_writable(cfg.work_dir, "--work-dir")
    with checkpoints_as_data(trust):
        with misspelled_names():
            runner = RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
            _ = runner.train_loop, runner.val_loop  # built when they are first read
        log_missing_parts(runner, "train_dataloader")
        return runner.train()


def log_missing_parts(runner: Runner, loader: str) -> None:
    """Say in one line which of this package's hooks and transforms a run's config does not name."""
    named = _type_names([runner.cfg.get("custom_hooks"), runner.cfg.get(loader)])
    is_training = loader == "train_dataloader"
    missing = [n for n in (TRAIN_PARTS if is_training else TEST_PARTS) if n not in named]
    checkpoint = runner.cfg.get("default_hooks", {}).get("checkpoint") or {}
    if is_training and "backend_args" not in checkpoint:
        missing.append("checkpoint.backend_args=dict(backend='whole')")
    if missing:
        runner.logger.info(
            f"The config runs as in MMSegmentation, without {', '.join(missing)}; see "
            "docs/safety.md."
        )


def _latest_checkpoint(work_dir: str) -> str | None:
    found = find_latest_checkpoint(work_dir)
    if found == "":
        raise InputError(
            f"{work_dir}/last_checkpoint is empty; name the checkpoint: --resume CHECKPOINT."
        )
    return found


def _type_names(part: Any) -> set[str]:
    """Types of a part of a config and of all parts in it."""
    if isinstance(part, dict):
        own = {type_name(part)} if isinstance(part.get("type"), str | type) else set()
        return own.union(*map(_type_names, part.values()))
    return set().union(*map(_type_names, part)) if isinstance(part, list | tuple) else set()


def _enable_amp(cfg: Config) -> None:
    wrapper = type_name(cfg.optim_wrapper, "OptimWrapper")
    if wrapper not in ("OptimWrapper", "AmpOptimWrapper", "BFloat16OptimWrapper"):
        raise InputError(
            f"optim_wrapper must be an OptimWrapper for --amp, got {wrapper}. Leave out --amp."
        )
    if torch.cuda.is_available():
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    else:
        cfg.optim_wrapper.type = "BFloat16OptimWrapper"
        for key in ("loss_scale", "dtype", "use_fsdp"):  # of AmpOptimWrapper alone
            cfg.optim_wrapper.pop(key, None)
