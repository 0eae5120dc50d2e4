"""Checkpoints of other layouts, written in ours."""

import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import torch

from ..errors import InputError
from ..files import replacing
from .fitting import read_checkpoint
from .layouts import Layout, to_own_layout


class Converted(NamedTuple):
    """What a conversion leaves.

    Attributes:
        path (Path): The file written.
        layout (Layout): The layout that the weights had.
    """

    path: Path
    layout: Layout


def convert_checkpoint(source: str | Path, target: str | Path, trust: bool = False) -> Converted:
    """Write the weights of a checkpoint as :class:`PointRendHead` names them, and nothing else.

    Args:
        source (str | Path): Checkpoint of MMSegmentation's PointRend (0.x or 1.x), of a coarse
            model, or of ours.
        target (str | Path): File to write. Its stem is followed by the first eight digits of the
            file's SHA-256, as in OpenMMLab's model zoo.
        trust (bool): Whether to run code that the source carries. Defaults to False.

    Returns:
        Converted: The path of the file written, and the layout that was found.

    Raises:
        InputError: If the source cannot be read or has no decode head, or the target cannot be
            written.
    """
    checkpoint = read_checkpoint(source, trust)
    weights = {k.removeprefix("module."): v for k, v in checkpoint["state_dict"].items()}
    weights, layout = to_own_layout(weights)
    if layout is None:
        raise InputError(
            f"{source} has no weights of a decode head (decode_head.*): it is no checkpoint of a "
            f"segmentor. Its first weights are {', '.join([*weights][:3])}."
        )
    buffer = io.BytesIO()  # in memory, as the name of the file depends on what is in it
    torch.save({"meta": checkpoint.get("meta", {}), "state_dict": weights}, buffer)
    content = buffer.getvalue()
    target = Path(target)
    digest = hashlib.sha256(content).hexdigest()[:8]
    path = target.with_name(f"{target.stem}-{digest}{target.suffix or '.pth'}")
    with replacing(path) as partial:
        partial.write_bytes(content)
    return Converted(path, layout)
