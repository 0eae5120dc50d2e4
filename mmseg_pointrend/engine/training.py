"""Training a segmentor."""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn

from ..checkpoints.loading import checkpoints_as_data
from ..config import import_wherever_loaded, misspelled_names, set_hook, type_name
from ..datasets import check_data_folders
from ..errors import InputError
from ..files import check_writable

# What configs/_base_/ names for a run, beside MMSegmentation's own parts.
HOOKS = ("DataCheckHook", "CheckpointCheckHook")
TRAIN_HOOKS = ("InvalidLossHook", "IterationSeedHook")
TRANSFORMS = ("LoadCheckedImage", "LoadCheckedAnnotations")


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
        InputError: If data are missing, a name in the config is misspelled, a checkpoint cannot be
            read or does not fit, the work dir cannot be written, or ``amp`` meets an optimizer
            wrapper that it cannot replace.
    """
    for loader in ("train_dataloader", "val_dataloader"):
        if cfg.get(loader) is not None:
            check_data_folders(cfg[loader].dataset)
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
        log_missing_parts(runner, "train_dataloader", HOOKS + TRAIN_HOOKS)
        return runner.train()


def log_missing_parts(runner: Runner, loader: str, hooks: tuple[str, ...]) -> None:
    """Say in one line which of this package's safeguards the config of a run does not name.

    Args:
        runner (Runner): The runner.
        loader (str): Key of the data loader that runs.
        hooks (tuple[str, ...]): Registered names of hooks.
    """
    named = _type_names([runner.cfg.get("custom_hooks"), runner.cfg.get(loader)])
    missing = [name for name in hooks + TRANSFORMS if name not in named]
    checkpoint = runner.cfg.get("default_hooks", {}).get("checkpoint") or {}
    if loader == "train_dataloader" and "backend_args" not in checkpoint:
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
