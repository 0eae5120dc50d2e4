"""From a config to one that is ready to train."""

import torch
from mmengine.config import Config

from .checkpoints import read_checkpoint
from .datasets import check_data_folders
from .errors import InputError
from .hooks import set_checkpoint_check


def prepare_training(
    cfg: Config,
    resume: str | None = None,
    amp: bool = False,
    channels_last: bool = False,
    allow_partial: bool = False,
) -> Config:
    """Check a config and set what the command line asks for.

    Args:
        cfg (Config): Config of a training run; changed in place.
        resume (str, optional): Checkpoint to go on from, or 'auto' for the latest one in the work
            dir. Defaults to None, a fresh start.
        amp (bool): Whether to train in mixed precision: float16 on a GPU, bfloat16 on a CPU.
            Defaults to False.
        channels_last (bool): Whether features are laid out pixel by pixel. Defaults to False.
        allow_partial (bool): Whether to start from a checkpoint that does not fit the model.
            Defaults to False.

    Returns:
        Config: ``cfg``.

    Raises:
        InputError: If data folders are missing, a checkpoint cannot be read or the config has an
            optimizer wrapper that mixed precision cannot replace.
    """
    for loader in ("train_dataloader", "val_dataloader"):
        if cfg.get(loader) is not None:
            check_data_folders(cfg[loader].dataset)
    if amp:
        _enable_amp(cfg)
    if channels_last:
        cfg.custom_hooks = [*cfg.get("custom_hooks", []), dict(type="ChannelsLastHook")]
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == "auto" else resume
    if cfg.get("load_from") and "://" not in cfg.load_from:
        read_checkpoint(cfg.load_from)  # for its errors; MMEngine's come late and as a traceback
    set_checkpoint_check(cfg, allow_partial)
    return cfg


def _enable_amp(cfg: Config) -> None:
    wrapper = cfg.optim_wrapper.get("type", "OptimWrapper")
    if wrapper not in ("OptimWrapper", "AmpOptimWrapper"):
        raise InputError(f"--amp replaces an OptimWrapper; the config has {wrapper}.")
    if torch.cuda.is_available():
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    else:
        cfg.optim_wrapper.type = "BFloat16OptimWrapper"
