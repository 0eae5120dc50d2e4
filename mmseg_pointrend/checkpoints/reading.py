"""Reading of pickled files as data: nothing in them runs."""

import pickle
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from ..errors import InputError

_safe_globals_lock = threading.RLock()


class RefusedCheckpoint(InputError):
    """A checkpoint that would run code, which none needs to."""


def read_data(
    path: str | Path, trust: bool = False, map_location: str | torch.device = "cpu"
) -> Any:
    """Read what ``torch.save`` wrote, without running code that the file may carry.

    Args:
        path (str | Path): The file.
        trust (bool): Whether to run the code all the same. Defaults to False.
        map_location (str | torch.device): As of ``torch.load``. Defaults to 'cpu'.

    Raises:
        InputError: If the file is missing, is no such file, or, as :class:`RefusedCheckpoint`, if
            it asks for code to be run and is not trusted.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file.")
    try:
        with _mmengine_globals():
            return torch.load(path, map_location=map_location, weights_only=not trust)
    except Exception as error:  # bytes that were never a pickle end in any error there is
        code = re.search(r"unsupported (?:global: )?GLOBAL (\S+)", str(error), re.IGNORECASE)
        if code:
            raise RefusedCheckpoint(
                f"{path} is refused: reading it would run {code[1]}, and a checkpoint is data. If "
                "you trust those who made it, pass --trust-checkpoint (in Python trust=True)."
            ) from error
        raise InputError(
            f"{path} is not a whole checkpoint ({_reason(error)}); fetch or save it again."
        ) from error


def trust_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read what MMEngine saves, in the whole process and from now on.

    Since PyTorch 2.6 it reads only tensors and classes that it was told to be harmless. MMEngine up
    to 0.10.7 does not tell it, and cannot read back its own checkpoints. Call this before
    MMEngine's own functions load one, as ``init_model``; :func:`read_data` does without.
    """
    torch.serialization.add_safe_globals(_harmless_globals())


@contextmanager
def _mmengine_globals() -> Iterator[None]:
    """Let ``torch.load`` read what MMEngine saves in the block."""
    with _safe_globals_lock:  # PyTorch keeps one list for all threads
        known = torch.serialization.get_safe_globals()
        new = [item for item in _harmless_globals() if item not in known]
        with torch.serialization.safe_globals(new):
            yield


def _harmless_globals() -> list:
    """What MMEngine writes into a checkpoint beside tensors: its log of scalars, NumPy numbers."""
    multiarray = np._core.multiarray if hasattr(np, "_core") else np.core.multiarray
    dtypes = {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"}
    return [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        multiarray._reconstruct,
        multiarray.scalar,
        *dtypes,
        (_history_buffer_method, "builtins.getattr"),
    ]


def _history_buffer_method(owner: type, name: str) -> Any:
    """``getattr`` for the four methods that a pickled HistoryBuffer names, and for nothing else."""
    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        # in the words that PyTorch has for what it refuses itself
        raise pickle.UnpicklingError(f"Unsupported global: GLOBAL builtins.getattr of {name}")
    return getattr(owner, name)


def _reason(error: Exception) -> str:
    # Without PyTorch's advice, which is to switch the protection off.
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    return text.splitlines()[0].partition(". ")[0] if text else type(error).__name__
