"""Has everything that MMEngine loads read as data: files, downloads and names of model zoos."""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.fileio import get_file_backend
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from ..errors import InputError
from .reading import RefusedCheckpoint, read_data

MODEL_ZOOS = ("torchvision", "modelzoo", "open-mmlab", "openmmlab", "mmcls")

# Whether the block of this thread trusts checkpoints.
_trust = ContextVar("trust", default=False)
# MMEngine's own loaders, once for each open block of any thread.
_replaced: list[dict] = []
_lock = threading.Lock()


@contextmanager
def checkpoints_as_data(trust: bool = False) -> Iterator[None]:
    """Have MMEngine read checkpoints with :func:`read_data` in the block.

    By itself it unpickles downloads, and in OneDL's distribution every file that cannot be read as
    data, with all the code that may be in them. This covers ``load_from``, ``--resume``,
    ``init_cfg`` and whatever else goes through its ``CheckpointLoader``, other than loaders that a
    user registered. With ``trust`` code may run; without it is an InputError.
    """
    token = _trust.set(trust)
    with _lock:
        _replaced.append(_replaced[0] if _replaced else CheckpointLoader._schemes)
        of_users = {
            prefix: loader
            for prefix, loader in _replaced[0].items()
            if getattr(loader, "__module__", None) != mmengine_checkpoint.__name__
        }
        CheckpointLoader._schemes = {**of_users, "": load_from_data}  # the first that fits is taken
    try:
        yield
    finally:
        with _lock:
            own = _replaced.pop()
            if not _replaced:
                CheckpointLoader._schemes = own
        _trust.reset(token)


def load_from_data(filename: str, map_location: Any = None) -> Any:
    """Load a checkpoint, and nothing that MMEngine would run later.

    MMEngine logs the name of this function without its first ten letters.
    """
    trust = _trust.get()
    checkpoint = load_checkpoint(filename, map_location, trust)
    meta = checkpoint.get("meta") if isinstance(checkpoint, dict) else None
    if isinstance(meta, dict) and not trust:
        meta.pop("config", None)  # MMCV's; resuming runs it as Python to look for gpu_ids
    return checkpoint


def load_checkpoint(filename: str | Path, map_location: Any = "cpu", trust: bool = False) -> Any:
    """Load a checkpoint from wherever MMEngine's loaders do, a file, a URL or a name of a model
    zoo, as :func:`~mmseg_pointrend.checkpoints.reading.read_data` does."""
    scheme, is_address, name = str(filename).partition("://")
    if not is_address:
        return read_data(filename, trust, map_location)
    if scheme in ("http", "https"):
        return _read_download(filename, trust, map_location)
    if scheme in MODEL_ZOOS:
        checkpoint = load_checkpoint(_zoo_address(scheme, name), map_location, trust)
        is_mmcls = scheme == "mmcls"
        return mmengine_checkpoint._process_mmcls_checkpoint(checkpoint) if is_mmcls else checkpoint
    try:
        backend = get_file_backend(filename)
    except (ImportError, KeyError) as error:
        raise InputError(
            f"{filename}: checkpoints cannot be read from {scheme}:// here; download the file and "
            "name that."
        ) from error
    with backend.get_local_path(filename) as path:
        return read_data(path, trust, map_location)


def download(url: str, sha256: str | None = None) -> Path:
    """Fetch a file once, into ``torch.hub.get_dir()``, which the variable TORCH_HOME moves.

    Raises an InputError if it cannot be fetched, or its SHA-256 begins with other digits than
    ``sha256``.
    """
    name = os.path.basename(urlparse(url).path)
    if name in ("", ".", ".."):
        raise InputError(f"{url} is not the address of a file.")
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file() and (sha256 is None or _sha256(path).startswith(sha256)):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It writes under a name of its own first, which replaces the target when all is there.
        torch.hub.download_url_to_file(url, str(path), sha256, progress=os.isatty(2))
    # OSError has URLError below it; another hash is a RuntimeError
    except (OSError, HTTPException, RuntimeError, ValueError) as error:
        raise InputError(
            f"{url} cannot be downloaded to {path} ({error}); try again, or name a file."
        ) from error
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _read_download(url: str, trust: bool, map_location: Any) -> Any:
    rank, _ = get_dist_info()
    if rank == 0:
        download(url)
    barrier()
    path = download(url)  # there by now
    try:
        return read_data(path, trust, map_location)
    except RefusedCheckpoint as error:
        raise RefusedCheckpoint(f"{url}: {error}") from error
    except InputError as error:
        raise InputError(f"{url}: {error} Remove {path} before that.") from error


def _zoo_address(scheme: str, name: str) -> str:
    """The URL, or the path in MMEngine's home, of a model of a zoo."""
    if scheme in ("torchvision", "modelzoo"):
        addresses = mmengine_checkpoint.get_torchvision_models()
    elif scheme == "mmcls":
        addresses = mmengine_checkpoint.get_mmcls_models()
    else:
        addresses = mmengine_checkpoint.get_external_models()
        name = mmengine_checkpoint.get_deprecated_model_names().get(name, name)
    if name not in addresses:
        raise InputError(f"{scheme}://{name}: {scheme} has no model of that name.")
    address = addresses[name]
    home = mmengine_checkpoint._get_mmengine_home()
    return address if "://" in address else str(Path(home, address))
