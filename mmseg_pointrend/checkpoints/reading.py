"""Reading of checkpoints as data: nothing in them runs."""

import pickle
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..errors import InputError

# Whether the innermost block of this thread trusts checkpoints; None outside of all blocks.
_trust: ContextVar[bool | None] = ContextVar("trust", default=None)
# PyTorch's own torch.load, once for each open block of any thread.
_replaced: list[Callable] = []
_lock = threading.RLock()


@contextmanager
def checkpoints_as_data(trust: bool = False) -> Iterator[None]:
    """Have ``torch.load`` read files in this block without running code that they carry.

    MMEngine by itself unpickles downloads, and in OneDL's distribution every file that cannot be
    read as data, with all the code that may be in them. This covers ``load_from``, ``--resume``,
    ``init_cfg`` and all other loading that ends in ``torch.load``. Other threads see no change.
    ``trust`` runs the code all the same. Defaults to False: a file that asks for code to be run is
    an InputError, as is one that is no checkpoint.
    """
    token = _trust.set(trust)
    with _lock:
        _replaced.append(_replaced[0] if _replaced else torch.load)
        torch.load = _load
    try:
        yield
    finally:
        with _lock:
            own = _replaced.pop()
            if not _replaced:
                torch.load = own
        _trust.reset(token)


def read_checkpoint(path: str | Path, trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint, of MMEngine or MMCV or a bare state dict, to the CPU, with its weights
    under ``'state_dict'``. ``path`` may be its address, whatever MMEngine's ``load_from`` takes. An
    InputError if it cannot be fetched, or as :func:`checkpoints_as_data`."""
    try:
        with checkpoints_as_data(trust):
            if "://" in str(path):
                checkpoint = CheckpointLoader.load_checkpoint(str(path), "cpu", logger="silent")
            else:
                checkpoint = torch.load(Path(path).expanduser(), "cpu")
    except OSError as error:
        raise InputError(f"{path} cannot be read as a checkpoint ({error}).") from error
    if not isinstance(checkpoint, Mapping) or "state_dict" not in checkpoint:
        checkpoint = {"state_dict": checkpoint}
    weights = checkpoint["state_dict"]
    if not isinstance(weights, Mapping) or not any(isinstance(w, Tensor) for w in weights.values()):
        raise InputError(f"{path} holds no weights; those of MMEngine lie under 'state_dict'.")
    return dict(checkpoint)


def trust_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read what MMEngine saves, in the whole process and from now on.

    Since PyTorch 2.6 it reads only tensors and classes that it was told to be harmless. MMEngine up
    to 0.10.7 does not tell it, and cannot read back its own checkpoints. Call this before
    MMEngine's own functions load one, as ``init_model``.
    """
    torch.serialization.add_safe_globals(_harmless_globals())


def _load(file: Any, *args: Any, **kwargs: Any) -> Any:
    """Stand for ``torch.load`` while there are blocks."""
    own, trust = _replaced[0], _trust.get()
    if trust is None:  # a thread without a block
        return own(file, *args, **kwargs)
    kwargs["weights_only"] = not trust
    try:
        with _lock, _mmengine_globals():
            checkpoint = own(file, *args, **kwargs)
    except OSError:
        raise
    except Exception as error:  # bytes that were never a pickle end in any error there is
        code = re.search(r"unsupported (?:global: )?GLOBAL (\S+)", str(error), re.IGNORECASE)
        if code:
            raise InputError(
                f"{file} is refused: reading it would run {code[1]}, and a checkpoint is data. If "
                "you trust those who made it, pass --trust-checkpoint (in Python trust=True)."
            ) from error
        raise InputError(
            f"{file} is not a whole checkpoint ({type(error).__name__}); fetch or save it again."
        ) from error
    meta = checkpoint.get("meta") if isinstance(checkpoint, dict) else None
    if isinstance(meta, dict) and not trust:
        meta.pop("config", None)  # MMCV's; resuming runs it as Python to look for gpu_ids
    return checkpoint


@contextmanager
def _mmengine_globals() -> Iterator[None]:
    """Have PyTorch, which keeps one list for all threads, take what MMEngine saves for harmless."""
    known = torch.serialization.get_safe_globals()
    # OneDL's MMEngine allows getattr, by which a file reaches any function.
    others = [item for item in known if item is not getattr]
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([*others, *_harmless_globals()])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(known)


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
