"""Configs on the command line, with their overrides."""

import argparse
import os
from difflib import get_close_matches
from inspect import signature
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from .errors import InputError

# What MMEngine's runner and MMSegmentation's tools look up in a config beside the runner's own
# arguments.
LOOKED_UP = (
    "activation_checkpointing",
    "compile",
    "custom_imports",
    "efficient_conv_bn_eval",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "sync_bn",
    "tta_model",
    "tta_pipeline",
)


class OverrideAction(DictAction):
    """MMEngine's DictAction, with a line where that has a traceback."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        """Parse ``KEY=VALUE``; values may be lists and tuples, but no dicts."""
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError, RecursionError):
            parser.error(
                f"{option_string} {' '.join(values)}: expected KEY=VALUE, where VALUE is a number, "
                "a word or a list of them; what is more goes into a config file"
            )


def add_override_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options`` as MMSegmentation's tools have it."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=OverrideAction,
        default={},
        metavar="KEY=VALUE",
        help="override settings of the config, nested keys with dots: "
        "model.decode_head.renderer.subdivision_num_points=512",
    )


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, ``--work-dir`` and ``--launcher`` as MMSegmentation's tools have
    them."""
    parser.add_argument(
        "--work-dir",
        help="folder for logs and checkpoints (default: work_dirs/NAME_OF_CONFIG)",
    )
    add_override_option(parser)
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="how the processes of a distributed job are started",
    )
    # torch.distributed.launch passes one of these
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` and merge the options of :func:`add_config_options` into it.

    Raises:
        InputError: If the file is missing, is no config, or an override does not fit.
    """
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    return cfg


def read_config(path: str | Path, overrides: dict | None = None) -> Config:
    """Read a config file with overrides of nested keys.

    Raises:
        InputError: If the file is missing, is no config, or an override does not fit.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such config file.")
    try:
        cfg = Config.fromfile(path)
    except RecursionError as error:
        raise InputError(f"{path} is not a valid config: it inherits from itself.") from error
    except Exception as error:  # a config is Python: anything can come out of it
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is not a valid config: {reason}") from error
    _check_names(overrides or {}, cfg, path)
    try:
        cfg.merge_from_dict(overrides or {})
    except (AssertionError, AttributeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot take the overrides (--cfg-options): {reason}") from error
    return cfg


def _check_names(overrides: dict, cfg: Config, path: str | Path) -> None:
    """Refuse overrides of settings that neither the config nor MMEngine knows: they do nothing."""
    known = {*cfg, *signature(Runner.__init__).parameters, *LOOKED_UP}
    for key in overrides:
        name = key.partition(".")[0]
        if name not in known:
            similar = get_close_matches(name, known, 1)
            advice = f"Did you mean {similar[0]}?" if similar else "It would do nothing."
            raise InputError(f"{path} has no {name}, which {key} would override. {advice}")
