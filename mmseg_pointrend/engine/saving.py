"""Checkpoints that are whole or not there, whatever ends the run while they are written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..errors import InputError
from ..files import replacing

# What replacing() leaves if it is killed.
PARTIAL_FILES = ".*.????????.partial"


@register_backend("whole")
class WholeFileBackend(LocalBackend):
    """The disk, on which a file changes at once and survives a loss of power.

    Attributes:
        outdated (list[Path] | None): Files that :meth:`remove` leaves for later; None while it
            removes them at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outdated: list[Path] | None = None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file that replaces an older one only when all of it is on the disk.

        Args:
            obj (bytes): Content of the file.
            filepath (str | Path): Its path; folders are made if need be.

        Raises:
            InputError: If it cannot be written; what was there stays.
        """
        path = Path(filepath)
        try:
            with replacing(path) as partial, partial.open("wb") as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
        except InputError as error:
            raise InputError(f"{error} What was there stays: make room, then --resume.") from error
        if os.name == "posix":  # elsewhere a folder cannot be opened
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def remove(self, filepath: str | Path) -> None:
        """Remove a file, or take a note of it."""
        if self.outdated is None:
            super().remove(filepath)
        else:
            self.outdated.append(Path(filepath))


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """A CheckpointHook after which a checkpoint is whole or not there.

    MMEngine's writes in place and removes the oldest checkpoint before it writes the newest. This
    one writes beside, puts the file in its place when it is on the disk, and removes what is
    outdated after that. What earlier runs left half-written is removed when training starts.

    Args:
        **kwargs: As of :class:`mmengine.hooks.CheckpointHook`. Where ``backend_args`` or
            ``file_client_args`` name another storage than the disk, that storage decides what
            remains of a broken write.

    Raises:
        InputError: If a checkpoint cannot be written; earlier ones stay.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        on_disk = self.backend_args is None and self.file_client_args is None
        if on_disk and "://" not in str(self.out_dir or ""):
            self.backend_args = dict(backend="whole")

    def before_train(self, runner: Runner) -> None:
        """Remove what earlier runs left half-written."""
        super().before_train(runner)
        if is_main_process() and isinstance(self.file_backend, WholeFileBackend):
            for folder in {Path(self.out_dir), Path(runner.work_dir)}:
                for leftover in folder.glob(PARTIAL_FILES):
                    leftover.unlink()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        with self._removing_afterwards():
            self._drop_oldest(runner, step)
            name = self.filename_tmpl.format(step)
            self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
            runner.message_hub.update_info("last_ckpt", self.last_ckpt)
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                latest = Path(runner.work_dir) / "last_checkpoint"
                WholeFileBackend().put(self.last_ckpt.encode(), latest)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        with self._removing_afterwards():
            super()._save_best_checkpoint(runner, metrics)

    def _drop_oldest(self, runner: Runner, step: int) -> None:
        """Give up the checkpoint that ``max_keep_ckpts`` leaves no place for."""
        if self.max_keep_ckpts <= 0 or step in self.keep_ckpt_ids:
            return
        # MMEngine removes what is too many of these when it resumes: after a kill between the
        # writing of this checkpoint and the removal of the oldest, the oldest.
        noted = [*self.keep_ckpt_ids, step]
        runner.message_hub.update_info("keep_ckpt_ids", noted)
        if len(noted) > self.max_keep_ckpts:
            oldest = self.filename_tmpl.format(noted[0])
            path = self.file_backend.join_path(self.out_dir, oldest)
            if is_main_process() and self.file_backend.isfile(path):
                self.file_backend.remove(path)
        self.keep_ckpt_ids.append(step)  # a deque that drops its first

    @contextmanager
    def _removing_afterwards(self) -> Iterator[None]:
        """Have the files that are removed in the block removed after it, if it ends well."""
        backend = getattr(self, "file_backend", None)  # set when training starts
        if not isinstance(backend, WholeFileBackend) or backend.outdated is not None:
            yield
            return
        backend.outdated = []
        try:
            yield
            outdated = backend.outdated
        finally:
            backend.outdated = None
        for path in outdated:
            # a checkpoint may name files of another run, or any file, as its own
            if path.resolve().parent == Path(self.out_dir).resolve():
                path.unlink(missing_ok=True)
