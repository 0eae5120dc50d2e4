"""Writing of files."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


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
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        partial = Path(name)
        yield partial
        partial.chmod(0o644)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
