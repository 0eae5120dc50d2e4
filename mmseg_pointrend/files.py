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
    """A file to write beside ``path``, which it replaces only when it is complete.

    Args:
        path (Path): The file to write. Its folder is made if need be.

    Yields:
        Path: The file to write instead; it takes the place of ``path`` when the block ends well.

    Raises:
        InputError: If the file cannot be written.
    """
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _new_file(path)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def check_writable(folder: str | Path, option: str) -> None:
    """Make a folder for what a run writes, and see whether it can write there.

    Args:
        folder (str | Path): The folder.
        option (str): Option of the command line that names it, for the message.

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


def _new_file(path: Path) -> Path:
    """An empty file beside ``path``, with the permissions that the umask leaves."""
    # The name is cut: with the suffix it may otherwise be longer than file systems allow.
    partial = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.partial")
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return partial
