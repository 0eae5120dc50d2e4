"""The error that a user can mend, and what command lines print and leave out. Needs no PyTorch."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from io import StringIO

# Beginnings of warnings about parts that a user can do nothing about: mmcv without compiled
# operators, and defaults of MMSegmentation's loss and visualization hook.
KNOWN_WARNINGS = (
    "Fail to import ``MultiScaleDeformableAttention``",
    "Default ``avg_non_ignore`` is False",
    "The draw is False, it means that the hook for visualization will not take effect",
)
KNOWN_LINE = "Could not import OneDL"  # what its MMSegmentation prints when it is imported


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


def ignore_known_warnings() -> None:
    """Ignore ``KNOWN_WARNINGS`` from now on; for programs, not for libraries."""
    for message in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def import_quietly(*names: str) -> None:
    """Import modules without what of this they say; no filter stays."""
    printed = StringIO()
    with warnings.catch_warnings(), redirect_stdout(printed):
        ignore_known_warnings()
        for name in names:
            import_module(name)
    lines = printed.getvalue().splitlines(keepends=True)
    sys.stdout.writelines(line for line in lines if line.strip() != KNOWN_LINE)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
