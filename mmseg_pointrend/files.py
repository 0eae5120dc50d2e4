"""Writing of files."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError

# Bytes that have to fit on the disk before a run starts: more than its first log lines.
ROOM = 2**20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file beside ``path``, which it replaces when the block ends well.

    The folder of ``path`` is made if need be.

    Raises:
        InputError: If the file cannot be written.
    """
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name is cut: with the suffix it may otherwise be longer than file systems allow.
        new = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.partial")
        new.touch(exist_ok=False)
        partial = new  # to be removed from here on
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def check_writable(folder: str | Path, option: str) -> None:
    """Make a folder, named by an option of the command line, and see whether a run can write there.

    Raises:
        InputError: If it cannot be made or written, or the disk is full.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(ROOM))
    except OSError as error:
        raise InputError(
            f"{folder}: nothing can be written there ({error.strerror}); choose another {option}."
        ) from error
