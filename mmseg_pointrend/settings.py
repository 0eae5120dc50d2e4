"""Checks of the numbers in a config that nobody else checks, or only when it is late."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config

from .errors import InputError

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
# Whole numbers, and the least that each may be.
WHOLE_NUMBERS = {
    **{f"{loader}.batch_size": 1 for loader in LOADERS},
    **{f"{loader}.num_workers": 0 for loader in LOADERS},
    "train_cfg.max_iters": 1,
    "train_cfg.max_epochs": 1,
    "train_cfg.val_interval": 1,
    "train_cfg.val_begin": 0,
    "default_hooks.logger.interval": 1,
    "default_hooks.checkpoint.interval": -1,
    "default_hooks.checkpoint.max_keep_ckpts": -1,
    "model.decode_head.num_classes": 1,
    "model.auxiliary_head.num_classes": 1,
}
# Numbers, and the least that each may be.
NUMBERS = {"optim_wrapper.optimizer.lr": 0, "optim_wrapper.optimizer.weight_decay": 0}
NEEDED = {
    "train": ("model", "train_dataloader", "train_cfg", "optim_wrapper"),
    "test": ("model", "test_dataloader"),
}


def check_settings(cfg: Config, task: str) -> None:
    """Refuse a config with a number that is too small, infinite or no number.

    Args:
        cfg (Config): The config.
        task (str): What it is for, 'train' or 'test'.

    Raises:
        InputError: If a setting has a wrong type or value, or a part is missing; names the key.
    """
    for key in NEEDED[task]:
        if not isinstance(cfg.get(key), dict):
            raise InputError(f"The config needs a dict {key}, to {task}; it has {cfg.get(key)!r}.")
    if not isinstance(cfg.get("load_from") or "", str):
        raise InputError(f"load_from has to name a checkpoint, not {cfg.load_from!r}.")
    for key, least in WHOLE_NUMBERS.items():
        value = _get(cfg, key)
        if value is not None and not (_is_number(value) and value == int(value) >= least):
            raise InputError(f"{key} has to be a whole number of at least {least}, not {value!r}.")
    _check_windows(cfg.model.get("test_cfg") or {})
    for key, least in NUMBERS.items():
        value = _get(cfg, key)
        if value is not None and not (_is_number(value) and value >= least):
            raise InputError(f"{key} has to be a number of at least {least}, not {value!r}.")


def _check_windows(test_cfg: dict) -> None:
    mode = test_cfg.get("mode", "whole")
    if mode not in ("whole", "slide"):
        raise InputError(f"model.test_cfg.mode is 'whole' or 'slide', not {mode!r}.")
    if mode == "slide":
        sizes = [test_cfg.get("crop_size"), test_cfg.get("stride")]
        if not all(isinstance(size, Sequence) and len(size) == 2 for size in sizes) or not all(
            1 <= stride <= crop for crop, stride in zip(*sizes, strict=True)
        ):
            raise InputError(
                "model.test_cfg with mode='slide' needs crop_size=(height, width) and a stride no "
                f"larger, not crop_size={sizes[0]} and stride={sizes[1]}."
            )


def _get(cfg: Config, key: str) -> Any:
    """The value of a nested key, or None where the config has no such thing."""
    value: Any = cfg
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict | Config) else None
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
