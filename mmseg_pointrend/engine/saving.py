"""Checkpoints that are complete or not there, whatever ends the run while they are written."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ..errors import InputError


@register_backend("whole")
class WholeFileBackend(LocalBackend):
    """The local disk, where a file is replaced at once or not at all.

    MMEngine's own backend writes in place, and a run that is killed meanwhile leaves half a
    checkpoint. For MMEngine's ``CheckpointHook``:

        default_hooks = dict(checkpoint=dict(backend_args=dict(backend="whole")))
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file beside its place and move it there once it is on the disk.

        Raises:
            InputError: If it cannot be written; what was there stays.
        """
        path = Path(filepath)
        # The name is fixed, so that a resumed run replaces what a kill has left.
        partial = path.with_name(f".{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise InputError(
                f"{path}: cannot be written ({error.strerror or error}). Earlier checkpoints stay: "
                "make room, then --resume."
            ) from error
