"""Files that run code when they are unpickled, for tests that they do not."""

import os
import pickle
from pathlib import Path

import torch


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


def spoil(checkpoint: Path, path: Path, target: Path, kind: str = "zip") -> Path:
    """Write a checkpoint that makes the folder ``target`` when it is unpickled.

    Args:
        checkpoint (Path): A whole checkpoint, whose content the other has too.
        path (Path): File to write.
        target (Path): The folder.
        kind (str): 'zip' or 'legacy', as ``torch.save`` writes it, 'pickle' for a plain pickle, or
            'nested' for code inside of the optimizer's state. Defaults to 'zip'.

    Returns:
        Path: ``path``.
    """
    content = torch.load(checkpoint, weights_only=False)
    if kind == "nested":
        content["optimizer"]["state"][0] = dict(step=[Malicious(target)])
    else:
        content["extra"] = Malicious(target)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy")
    return path


KINDS = ("zip", "legacy", "pickle", "nested")
