"""Training a segmentor."""

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn

from ..checkpoints.reading import checkpoints_as_data
from ..config import misspelled_names, set_hook, type_name
from ..datasets import check_data_settings
from ..errors import InputError

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
    """Train the model of a config, changed in place, and return it.

    Options are those of ``tools/train.py``; ``resume`` is a checkpoint, or 'auto' for the latest
    one in the work dir, if there is any. Raises InputError if anything does not fit.
    """
    check_data_settings(cfg)
    if amp:
        _enable_amp(cfg)
    if allow_partial:
        set_hook(cfg, "CheckpointCheckHook", allow_partial=True)
    if resume == "auto":
        # Without a checkpoint the run starts afresh, from load_from if the config has one.
        cfg.resume, resume = False, find_latest_checkpoint(cfg.work_dir)
    if resume is not None:
        cfg.resume, cfg.load_from = True, resume
    with checkpoints_as_data(trust):
        with misspelled_names():
            runner = RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
            _ = runner.train_loop, runner.val_loop  # built when they are first read
        if channels_last:
            runner.model.to(memory_format=torch.channels_last)
        log_missing_parts(runner, "train_dataloader")
        return runner.train()


def log_missing_parts(runner: Runner, loader: str) -> None:
    """Say in one line which of this package's hooks and transforms a run's config does not name."""
    cfg, is_training = runner.cfg, loader == "train_dataloader"
    named = f"{cfg.get('custom_hooks')} {cfg[loader]}"
    missing = [name for name in (TRAIN_PARTS if is_training else TEST_PARTS) if name not in named]
    checkpoint = cfg.get("default_hooks", {}).get("checkpoint") or {}
    if is_training and "backend_args" not in checkpoint:
        missing.append("checkpoint.backend_args=dict(backend='whole')")
    if missing:
        runner.logger.info(
            f"The config runs as in MMSegmentation, without {', '.join(missing)}; see "
            "docs/safety.md."
        )


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
        cfg.optim_wrapper.pop("loss_scale", None)
