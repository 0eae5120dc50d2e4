"""Turns what a wrong config or wrong data end in into one line that says where to look."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from .errors import InputError

# Methods of MMEngine's Runner that do nothing but what the config says, by file and name.
RUNNER = "mmengine/runner/runner.py"
BUILDING = re.compile(r"build_\w+|__init__|setup_env|wrap_model|_init_model_weights|resume")
REGISTRY = "mmengine/registry/build_functions.py"
LOADER = "torch/utils/data/dataloader.py"
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# Longer ones quote whole configs.
MAX_LENGTH = 400


@contextmanager
def config_errors() -> Iterator[None]:
    """Have an error of a config or of data files raised as the user's, where it can be told apart.

    That is whatever is raised while something is built from the config, where names, types and
    values of arguments are the user's, every file that cannot be read while data are loaded, and a
    disk that is full.

    Raises:
        InputError: Of one line, in place of such an error.
    """
    try:
        yield
    except InputError as error:
        if _is_of_worker(error):
            raise InputError(_last_line(error)) from error
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise InputError(
                f"{error.filename or 'A log'} cannot be written ({error.strerror}). Checkpoints "
                "are whole: make room, then --resume."
            ) from error
        frames = _frames(error)
        if isinstance(error, OSError) and _is_within(frames, LOADER):
            raise InputError(f"The data cannot be read: {_text(error)}.") from error
        subject = _being_built(frames)
        if subject is None:
            raise
        raise InputError(
            f"{subject} cannot be built from the config ({type(error).__name__}: {_text(error)}). "
            "Correct the config or --cfg-options."
        ) from error


def _frames(error: BaseException) -> list[FrameType]:
    """What was running when an error was raised, outermost first."""
    frames, traceback = [], error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return frames


def _is_within(frames: list[FrameType], file: str) -> bool:
    return any(frame.f_code.co_filename.replace("\\", "/").endswith(file) for frame in frames)


def _being_built(frames: list[FrameType]) -> str | None:
    """Name of the innermost thing that was being built, None if nothing was."""
    subject = None
    for frame in frames:
        name = frame.f_code.co_name
        if _is_within([frame], RUNNER) and BUILDING.fullmatch(name):
            subject = "The Runner" if name == "__init__" else f"The Runner ({name})"
        elif _is_within([frame], REGISTRY) and name == "build_from_cfg":
            kind = frame.f_locals.get("obj_cls") or frame.f_locals.get("obj_type")
            kind = kind or frame.f_locals.get("cfg")
            subject = getattr(kind, "__name__", str(kind)[:80])
    return subject


def _text(error: Exception) -> str:
    if _is_of_worker(error):
        return _last_line(error)
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = " ".join(text.partition(" Please check whether")[0].split()).rstrip(".")
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]} ..."


def _is_of_worker(error: Exception) -> bool:
    """Whether an error comes from a worker of a data loader, with its traceback for a message."""
    return "Original Traceback" in str(error)


def _last_line(error: Exception) -> str:
    # an InputError has its line breaks escaped
    line = re.split(r"\n|\\n", str(error).strip().removesuffix("\\n"))[-1]
    return line.partition(": ")[2] or line
