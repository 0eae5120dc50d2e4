"""What the command lines share: the config with its overrides, and errors of one line."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config, DictAction

from .errors import InputError

# Raised for what a user can mend; the message says how.
EXPECTED_ERRORS = (InputError, FloatingPointError)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, ``--work-dir`` and ``--launcher`` as MMSegmentation's tools have
    them."""
    parser.add_argument("--work-dir", help="folder for logs and checkpoints")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        default={},
        metavar="KEY=VALUE",
        help="override settings of the config, nested keys with dots: "
        "model.decode_head.renderer.subdivision_num_points=512",
    )
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
    except Exception as error:  # a config is Python: anything can come out of it
        raise InputError(f"{path} is not a valid config: {error}") from error
    try:
        cfg.merge_from_dict(overrides or {})
    except (AssertionError, KeyError, TypeError) as error:
        raise InputError(f"--cfg-options does not fit {path}: {error}") from error
    return cfg


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print expected errors as one line and exit with status 1; let defects keep their
    traceback."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
