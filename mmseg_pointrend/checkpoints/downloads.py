"""Files from the web, kept where PyTorch keeps them."""

import hashlib
import os
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch

from ..errors import InputError


def download(url: str, sha256: str | None = None) -> Path:
    """Fetch a file, once.

    It is kept in ``torch.hub.get_dir()``; the variable TORCH_HOME moves it.

    Args:
        url (str): Its address.
        sha256 (str, optional): The first digits of its SHA-256. Defaults to None: any content.

    Returns:
        Path: The file, whole.

    Raises:
        InputError: If it cannot be fetched, or has another SHA-256.
    """
    name = os.path.basename(urlparse(url).path)
    if name in ("", ".", ".."):
        raise InputError(f"{url} is not the address of a file.")
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file() and _has_digits(path, sha256):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # To a name of its own first, which takes the place of the target when all is there.
        torch.hub.download_url_to_file(url, str(path), sha256, progress=os.isatty(2))
    # OSError has URLError below it; another hash is a RuntimeError
    except (OSError, HTTPException, RuntimeError, ValueError) as error:
        raise InputError(
            f"{url} cannot be downloaded to {path} ({error}); try again, or name a file."
        ) from error
    return path


def _has_digits(path: Path, sha256: str | None) -> bool:
    if sha256 is None:
        return True
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest().startswith(sha256)
