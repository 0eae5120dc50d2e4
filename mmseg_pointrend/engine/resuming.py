"""Finding the checkpoint that an interrupted run goes on from."""

import re
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger

from ..checkpoints.fitting import read_checkpoint
from ..checkpoints.reading import RefusedCheckpoint
from ..errors import InputError


def newest_checkpoint_of(cfg: Config, trust: bool = False) -> Path | None:
    """Find the checkpoint that a run of a config goes on from; see :func:`newest_whole_checkpoint`.

    Args:
        cfg (Config): Config of the run: its work dir, and what its checkpoint hook says about names
            and folder.
        trust (bool): Whether to run code that checkpoints carry. Defaults to False.
    """
    names = _checkpoint_hook(cfg).get("filename_tmpl")
    return newest_whole_checkpoint(checkpoint_folder(cfg), trust, names, cfg.work_dir)


def checkpoint_folder(cfg: Config) -> Path:
    """Where a run of a config saves its checkpoints."""
    out_dir = _checkpoint_hook(cfg).get("out_dir")
    work_dir = Path(cfg.work_dir)
    return work_dir if out_dir is None else Path(out_dir) / work_dir.name


def newest_whole_checkpoint(
    folder: str | Path,
    trust: bool = False,
    filename_tmpl: str | None = None,
    work_dir: str | Path | None = None,
) -> Path | None:
    """Find the newest checkpoint of a run that can be read from its first byte to its last.

    The file ``last_checkpoint`` tells the latest run in a folder from earlier ones, but a kill may
    have come before it was written, or a copy have cut the checkpoint that it names.

    Args:
        folder (str | Path): Where the run saves its checkpoints.
        trust (bool): Whether to run code that checkpoints carry. Defaults to False.
        filename_tmpl (str, optional): Their names, with ``{}`` for a number, as of MMEngine's
            ``CheckpointHook``. Defaults to None: ``iter_{}.pth`` and ``epoch_{}.pth``.
        work_dir (str | Path, optional): Where ``last_checkpoint`` lies. Defaults to None:
            ``folder``.

    Returns:
        Path | None: The checkpoint, or None if there is none at all. Newer ones that cannot be read
        are named in a warning.

    Raises:
        InputError: If there are checkpoints and none can be read, or if the newest would run code.
    """
    named = _named_last(Path(folder), Path(work_dir or folder))
    broken = []
    for path in _newest_first(Path(folder), _name_pattern(filename_tmpl), named):
        try:
            checkpoint = read_checkpoint(path, trust)
            if "iter" not in checkpoint.get("meta", {}) or "message_hub" not in checkpoint:
                raise InputError(f"{path} has weights, but no state of a training to go on from.")
            return path
        except RefusedCheckpoint:
            raise
        except InputError as error:
            broken.append(str(error))
            logger = MMLogger.get_current_instance()
            logger.warning(f"{error} Going on from an earlier checkpoint.")
    if broken:
        raise InputError(
            f"{folder}: none of the {len(broken)} checkpoints can be resumed from. {broken[0]} "
            "Remove them to start afresh."
        )
    return None


def _checkpoint_hook(cfg: Config) -> dict:
    return cfg.get("default_hooks", {}).get("checkpoint") or {}


def _name_pattern(filename_tmpl: str | None) -> str:
    if filename_tmpl is None:
        return r"(?:iter|epoch)_(\d+)\.pth"
    before, _, after = re.sub(r"\{[^}]*\}", "\0", filename_tmpl).partition("\0")
    return rf"{re.escape(before)}(\d+){re.escape(after)}"


def _newest_first(folder: Path, pattern: str, named: Path | None) -> list[Path]:
    numbers = {
        path: int(found[1])
        for path in folder.glob("*")
        if (found := re.fullmatch(pattern, path.name))
    }
    newest_first = sorted(numbers, key=numbers.__getitem__, reverse=True)
    if named not in numbers:
        return newest_first
    written = named.stat().st_mtime
    return [
        path
        for path in newest_first
        # a higher number that is older belongs to a run before this one
        if numbers[path] <= numbers[named] or path.stat().st_mtime >= written
    ]


def _named_last(folder: Path, work_dir: Path) -> Path | None:
    """The checkpoint that ``last_checkpoint`` names, wherever the folder was at that time."""
    try:
        text = (work_dir / "last_checkpoint").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return folder / Path(text).name if text else None
