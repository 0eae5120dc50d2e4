"""Configs and the options of the command lines. Importing this module imports no PyTorch."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.registry import Registry


def add_override_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options`` as MMSegmentation's tools have it, where MMEngine is installed."""
    try:
        from mmengine.config import DictAction
    except ImportError:  # exported models run without it, and have no config
        parser.set_defaults(cfg_options={})
        return

    class OverrideAction(DictAction):
        def __call__(self, parser, namespace, values, option_string=None) -> None:
            try:
                super().__call__(parser, namespace, values, option_string)
            except (ValueError, AssertionError, RecursionError):
                parser.error(
                    f"{option_string} must be KEY=VALUE, got {' '.join(values)}; put what is no "
                    "number, word or list of them into a config file."
                )

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
    """Add ``--cfg-options``, ``--work-dir`` and ``--launcher`` as in MMSegmentation's tools."""
    parser.add_argument(
        "--work-dir", help="folder for logs and checkpoints (default: work_dirs/NAME_OF_CONFIG)"
    )
    add_override_option(parser)
    launchers = ["none", "pytorch", "slurm", "mpi"]
    parser.add_argument("--launcher", choices=launchers, default="none", help="job launcher")
    # torch.distributed.launch passes one of these
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow-partial`` and ``--trust-checkpoint``."""
    parser.add_argument(
        "--allow-partial",
        action="store_true",
        help="accept a checkpoint that does not fit the whole model",
    )
    add_trust_option(parser)


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-checkpoint``."""
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="read checkpoints that run code when loaded; only for those from people you trust",
    )


def load_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` with the options of :func:`add_config_options`."""
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    return cfg


def read_config(path: str | Path, overrides: dict | None = None) -> Config:
    """Read a config file and override some of its keys, given with dots; an InputError if the file
    is missing or no valid config, or an override does not fit."""
    from mmengine.config import Config

    if not Path(path).is_file():
        raise InputError(f"{path}: no such config file.")
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is Python: anything can come out of it
        cause: BaseException = error
        while isinstance(cause, ImportError) and cause.__context__:
            cause = cause.__context__  # MMEngine's own error lists the folders of sys.path
        reason = _one_line(cause) or type(cause).__name__
        problem = (
            "cannot be imported" if isinstance(cause, ImportError) else "is not a valid config"
        )
        raise InputError(f"{path} {problem}: {reason}") from error
    _refuse_typos(overrides or {}, cfg, path)
    try:
        cfg.merge_from_dict(overrides or {})
    except (AssertionError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot take --cfg-options: {_one_line(error)}") from error
    return cfg


@contextmanager
def misspelled_names() -> Iterator[None]:
    """Raise InputError where a config that is built names a type or an argument that is none."""
    try:
        yield
    except (KeyError, TypeError) as error:
        reason = _one_line(error).partition(" Please check whether")[0]
        if isinstance(error, KeyError) and " " not in reason:
            reason = f"it has no {reason}."
        raise InputError(f"The config cannot be built: {reason}") from error


def type_name(part: dict, default: str = "") -> str:
    """Name of a part's type: 'ResNet' for ``ResNet``, 'ResNet' and 'mmseg.ResNet'."""
    kind = part.get("type", default)
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition(".")[2]


def parts(value: dict | Sequence[dict] | None) -> Sequence[dict]:
    """The parts under a key that takes one part, a list of them or None."""
    return [value] if isinstance(value, dict) else value or ()


def build_part(registry: Registry, kind: str, config: dict, offered: dict[str, Any]) -> Any:
    """Build a part, of type ``kind`` if its config has none, with those of the ``offered``
    arguments that it takes and its config does not have."""
    # MMEngine leaves _delete_ in what replaces nothing.
    config = {"type": kind, **{key: value for key, value in config.items() if key != "_delete_"}}
    part = registry.get(config["type"]) if isinstance(config["type"], str) else config["type"]
    taken = {key: value for key, value in offered.items() if part and takes(part, key)}
    return registry.build({**taken, **config})


def takes(function: Callable, argument: str) -> bool:
    """Whether a function or class takes an argument of that name."""
    parameters = signature(function).parameters
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def set_hook(cfg: Config, kind: str, **settings: object) -> None:
    """Add a hook to ``custom_hooks`` in place, instead of any other of its type."""
    others = [hook for hook in cfg.get("custom_hooks") or [] if type_name(hook) != kind]
    cfg.custom_hooks = [*others, dict(type=kind, **settings)]


def _refuse_typos(overrides: dict, cfg: Config, path: str | Path) -> None:
    """Refuse overrides under a top-level key that looks misspelled: they would do nothing."""
    from mmengine.runner import Runner

    known = {*cfg, *signature(Runner.__init__).parameters}
    for key in overrides:
        name = key.partition(".")[0]
        similar = get_close_matches(name, known, 1, cutoff=0.8) or [name]
        if similar[0] != name:
            raise InputError(
                f"{path} has no {name}, which {key} would override. Did you mean {similar[0]}?"
            )


def _one_line(error: Exception) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split())
