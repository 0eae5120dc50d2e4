"""The error that a user can mend, and how command lines print it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input: a file, a value or a setting that the user can mend.

    The message says in one line what is wrong and what to do. The command lines print it without a
    traceback and exit with status 1; everything else that is raised is a defect of ours and keeps
    its traceback.

    Args:
        message (str): The line. Characters that would break it or act on a terminal, as file names
            may have them, are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else _escaped(c) for c in message))


# Raised for what a user can mend; the message says how.
EXPECTED_ERRORS = (InputError, FloatingPointError)
ESCAPED_NEWLINE = r"\n"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print expected errors as one line and exit with status 1; let defects keep their
    traceback."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        # PyTorch repeats an error of a data loader's worker with its traceback before it.
        message = str(error).rpartition(f"{InputError.__name__}: ")[2]
        sys.exit(f"error: {message.removesuffix(ESCAPED_NEWLINE)}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
