"""Files from the web, kept where PyTorch keeps them."""

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
        InputError: If it cannot be fetched, or is another than expected.
    """
    name = os.path.basename(urlparse(url).path)
    if name in ("", ".", ".."):
        raise InputError(f"{url} is not the address of a file.")
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
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
