"""The error that a user can mend, and how command lines print it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input: a file, a value or a setting that the user can mend.

    The message says in one line what is wrong and what to do; the command lines print it without a
    traceback. Characters that would break the line or act on a terminal are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else _escaped(c) for c in message))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print expected errors as one line and exit with status 1; others keep their traceback.

    Expected are an :class:`InputError`, a loss that is not finite, packages that are missing, and
    files, disks or networks that fail.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error}; install it.")
    except (InputError, FloatingPointError, OSError) as error:
        # PyTorch repeats an error of a data loader's worker with its traceback before it.
        message = str(error).rpartition("InputError: ")[2].removesuffix(r"\n")
        sys.exit(f"error: {message}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
