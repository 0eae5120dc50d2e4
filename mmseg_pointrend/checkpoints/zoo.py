"""The models of our zoo by their names: their configs, and weights where some are published."""

import difflib
import os
import re
from http.client import HTTPException
from pathlib import Path

import torch
import yaml

from ..errors import InputError

PACKAGE = Path(__file__).parents[1]
# Built packages carry the zoo in .mim; in the repository it lies beside the package.
ROOT = PACKAGE / ".mim" if (PACKAGE / ".mim" / "model-index.yml").is_file() else PACKAGE.parent


def find_config(model: str | Path) -> Path:
    """Find the config file of a model by its name in the zoo, such as 'pointrend_r50_cityscapes',
    or by its path; an InputError names the models that are called nearly so."""
    path, name = Path(model), str(model)
    if path.is_file() or path.suffix or len(path.parts) != 1:
        return path
    found = [path for path in ROOT.glob("configs/**/*.py") if "_base_" not in path.parts]
    configs = {path.stem: path for path in found}
    if name in configs:
        return configs[name]
    nearest = difflib.get_close_matches(name, configs, n=4, cutoff=0)
    raise InputError(
        f"{name}: neither a file nor a model of the zoo; nearest are {', '.join(nearest)}."
    )


def fetch_weights(name: str) -> Path:
    """Fetch the published weights of a model of the zoo, once, by its name; an InputError if there
    are none, or they cannot be fetched whole."""
    files = [yaml.safe_load(path.read_text()) for path in ROOT.glob("configs/**/metafile.yaml")]
    urls = {model["Name"]: model.get("Weights") for file in files for model in file["Models"]}
    url = urls.get(name)
    if url is None:
        raise InputError(f"{name}: no weights of it are published; name a checkpoint file.")
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if path.is_file():
        return path
    # OpenMMLab's files have the first digits of their SHA-256 in their names.
    digits = re.search(r"-([0-9a-f]{8,})\.pth$", url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The file appears under its name when all of it is there.
        torch.hub.download_url_to_file(url, str(path), digits and digits[1], os.isatty(2))
    except (OSError, HTTPException, RuntimeError) as error:  # the last for another SHA-256
        raise InputError(
            f"{url} cannot be downloaded to {path} ({error}); try again, or name a file."
        ) from error
    return path
