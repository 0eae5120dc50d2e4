"""From a config to one that is ready to train."""

import torch
from mmengine.config import Config, ConfigDict

from ..checkpoints.fitting import read_checkpoint
from ..datasets import check_data_settings
from ..errors import InputError
from ..files import check_writable
from ..own_import import import_wherever_loaded
from ..settings import check_settings
from ..type_names import type_name
from .hooks import set_hook
from .resuming import newest_checkpoint_of


def prepare_training(
    cfg: Config,
    resume: str | None = None,
    amp: bool = False,
    channels_last: bool = False,
    allow_partial: bool = False,
    trust: bool = False,
) -> Config:
    """Check a config and set what the command line asks for.

    MMEngine's own training loop and checkpoint hook give way to ours, which lose nothing, and the
    hooks that check data, weights and losses join, whatever the config has.

    Args:
        cfg (Config): Config of a training run; changed in place.
        resume (str, optional): Checkpoint to go on from, or 'auto' for the newest whole one in the
            work dir, if there is any. Defaults to None, a fresh start.
        amp (bool): Whether to train in mixed precision: float16 on a GPU, bfloat16 on a CPU.
            Defaults to False.
        channels_last (bool): Whether features are laid out pixel by pixel. Defaults to False.
        allow_partial (bool): Whether to start from a checkpoint that does not fit the model.
            Defaults to False.
        trust (bool): Whether to run code that checkpoints carry. Defaults to False.

    Returns:
        Config: ``cfg``.

    Raises:
        InputError: If a setting has a wrong value, data folders are missing, a checkpoint cannot be
            read, the work dir cannot be written, or the config has an optimizer wrapper that mixed
            precision cannot replace.
    """
    check_settings(cfg, "train")
    check_data_settings(cfg)
    if amp:
        _enable_amp(cfg)
    if channels_last:
        set_hook(cfg, "ChannelsLastHook")
    _lose_nothing(cfg)
    if resume is None and cfg.get("resume") and not cfg.get("load_from"):
        resume = "auto"
    if resume == "auto":
        found = newest_checkpoint_of(cfg, trust)
        cfg.resume = found is not None  # killed before its first checkpoint, a run begins again
        cfg.load_from = str(found) if found else cfg.get("load_from")
    elif resume is not None:
        cfg.resume, cfg.load_from = True, resume
    if cfg.get("load_from") and "://" not in cfg.load_from:
        read_checkpoint(cfg.load_from, trust)  # for its errors, before anything is built
    for check in ("DataCheckHook", "InvalidLossHook"):
        set_hook(cfg, check)
    set_hook(cfg, "CheckpointCheckHook", allow_partial=allow_partial)
    import_wherever_loaded(cfg)
    check_writable(cfg.work_dir, "--work-dir")
    return cfg


def _lose_nothing(cfg: Config) -> None:
    """Have training go on after a kill as if there had been none."""
    loop = cfg.train_cfg
    if "type" not in loop and loop.get("by_epoch") is False:
        loop.pop("by_epoch")
        loop.type = "IterBasedTrainLoop"
    if type_name(loop) == "IterBasedTrainLoop":
        loop.type = "ResumableTrainLoop"
    hooks = cfg.setdefault("default_hooks", ConfigDict())
    hook = hooks.setdefault("checkpoint", ConfigDict(type="CheckpointHook"))
    if hook is not None and type_name(hook) == "CheckpointHook":
        hook.type = "WholeCheckpointHook"


def _enable_amp(cfg: Config) -> None:
    wrapper = type_name(cfg.optim_wrapper, "OptimWrapper")
    if wrapper not in ("OptimWrapper", "AmpOptimWrapper", "BFloat16OptimWrapper"):
        raise InputError(f"--amp replaces an OptimWrapper; the config has {wrapper}.")
    if torch.cuda.is_available():
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    else:
        cfg.optim_wrapper.type = "BFloat16OptimWrapper"
        for key in ("loss_scale", "dtype", "use_fsdp"):  # of AmpOptimWrapper alone
            cfg.optim_wrapper.pop(key, None)
