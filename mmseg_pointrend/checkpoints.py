"""Reading checkpoints safely and completely."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MMLogger
from torch import Tensor, nn

from .errors import InputError


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU without running code that it may carry.

    Args:
        path (str | Path): A ``.pth`` file of MMEngine, or a bare state dict.

    Returns:
        dict: The checkpoint, with its weights under ``'state_dict'``.

    Raises:
        InputError: If the file is missing, is no checkpoint, or asks for code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file.")
    try:
        with torch.serialization.safe_globals(_harmless_globals()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} is refused: {_reason(error)}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is not a whole checkpoint ({_reason(error)}); fetch or save it again."
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise InputError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint.")
    return dict(checkpoint) if "state_dict" in checkpoint else {"state_dict": dict(checkpoint)}


def check_weights(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    path: str | Path,
    allow_partial: bool = False,
) -> None:
    """Refuse weights that would leave a part of a model as it was initialized.

    Args:
        model (nn.Module): The model that is to take the weights.
        state_dict (Mapping[str, Tensor]): The weights.
        path (str | Path): Where they come from, for the message.
        allow_partial (bool): Whether to warn instead. Defaults to False.

    Raises:
        InputError: If weights are missing or have other shapes; names the first few.
    """
    given = {name.removeprefix("module."): weight for name, weight in state_dict.items()}
    problems = []
    for name, weight in model.state_dict().items():
        if name not in given:
            # older checkpoints lack the counter, which nothing but momentum=None reads
            if not name.endswith("num_batches_tracked"):
                problems.append(f"{name} is missing")
        elif given[name].shape != weight.shape:
            problems.append(f"{name} is {_shape(given[name])}, the model has {_shape(weight)}")
    if not problems:
        return
    shown = "; ".join(problems[:4]) + ("; ..." if len(problems) > 4 else "")
    message = f"{path} does not fit the model in {len(problems)} weights: {shown}."
    if not allow_partial:
        raise InputError(f"{message} Pass the config it was trained with, or --allow-partial.")
    MMLogger.get_current_instance().warning(message)


def load_weights(model: nn.Module, path: str | Path, allow_partial: bool = False) -> dict[str, Any]:
    """Load the weights of a checkpoint into a model, all of them or none.

    Args:
        model (nn.Module): The model, changed in place.
        path (str | Path): The checkpoint file.
        allow_partial (bool): Whether to load what fits. Defaults to False.

    Returns:
        dict: The checkpoint's ``meta``: classes, palette, the config it was trained with.

    Raises:
        InputError: If the file cannot be read or does not fit.
    """
    checkpoint = read_checkpoint(path)
    state_dict = checkpoint["state_dict"]
    check_weights(model, state_dict, path, allow_partial)
    expected = model.state_dict()
    given = {name.removeprefix("module."): weight for name, weight in state_dict.items()}
    fitting = {
        name: weight
        for name, weight in given.items()
        if name in expected and weight.shape == expected[name].shape
    }
    model.load_state_dict(fitting, strict=False)
    return checkpoint.get("meta", {})


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
        raise pickle.UnpicklingError(f"it asks for getattr({owner!r}, {name!r})")
    return getattr(owner, name)


def _reason(error: Exception) -> str:
    text = str(error)
    if "Unsupported global: GLOBAL " in text:
        name = text.split("Unsupported global: GLOBAL ")[1].split()[0]
        return f"reading it would run {name}, and a checkpoint is data."
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
