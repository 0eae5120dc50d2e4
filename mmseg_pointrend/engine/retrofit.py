"""Putting a point head on a trained model: which features it reads, and the config that does it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..checkpoints.fitting import load_weights
from ..checkpoints.reading import checkpoints_as_data
from ..errors import InputError
from ..files import replacing
from .coarse_model import CoarseModel, Level, read_coarse_model
from .proof import prove
from .retrofit_text import HEADER, retrofit_text

COARSEST_STRIDE = 16  # of the levels that the point head reads
# The stride of the fine features in the paper; a model without it gets a branch on the image.
FINE_STRIDE = 4


class Retrofit(NamedTuple):
    """What was written."""

    levels: list[Level]  # that the model has
    chosen: list[Level]  # that the point head reads, finest first
    reads_image: bool  # levels of stride 2 and 4 of an image branch too
    # Share of the labels that differ from the model's before any training and without subdivision
    # steps; None if that was not checked.
    differing: float | None


def write_recipe(
    config: str | Path,
    checkpoint: str | Path,
    target: str | Path,
    iters: int = 20000,
    check: bool = True,
    trust: bool = False,
) -> Retrofit:
    """Write the config of a PointRend model on top of a trained model.

    Args:
        config (str | Path): Config that the model was trained with.
        checkpoint (str | Path): Its checkpoint, a file or an address.
        target (str | Path): Config file to write.
        iters (int): Iterations to train the point head for, at least 2. Defaults to 20000.
        check (bool): Whether to train a step and to predict before the file is written, see
            :func:`~mmseg_pointrend.engine.proof.prove`. Defaults to True.
        trust (bool): Whether to run code that the checkpoint carries. Defaults to False.

    Raises:
        InputError: If the config or the checkpoint cannot be read, do not fit each other or are
            those of a model that PointRend cannot be put on, if ``target`` is no name for a new
            config, or if the check fails.
    """
    config, target, source = Path(config), Path(target), str(checkpoint)
    if iters < 2:
        raise InputError(f"iters must be at least 2, got {iters}.")
    if target.suffix != ".py":
        raise InputError(f"{target}: a config is a Python file; give it the suffix .py.")
    if target.is_file() and not target.read_bytes().startswith(HEADER.encode()):
        raise InputError(f"{target} exists and was not written by this tool; choose another --out.")
    if "://" not in source:
        source = Path(source).expanduser().resolve().as_posix()
    with checkpoints_as_data(trust):
        coarse = read_coarse_model(config)
    load_weights(coarse.network, source, trust=trust)
    return write_config(coarse, source, target, iters, check)


def write_config(
    coarse: CoarseModel, checkpoint: str, target: Path, iters: int = 20000, check: bool = True
) -> Retrofit:
    """Write the config of a PointRend model on top of a model; see :func:`write_recipe`."""
    chosen = choose_levels(coarse.levels)
    reads_image = chosen[0].stride > FINE_STRIDE
    text = retrofit_text(coarse, chosen, reads_image, checkpoint, target, iters)
    differing = None
    with replacing(target) as partial:
        partial.write_text(text)
        if check:  # under a name that MMEngine takes for a config, and in the folder of _base_
            with tempfile.NamedTemporaryFile("w", suffix=".py", dir=target.parent) as trial:
                trial.write(text)
                trial.flush()
                differing = prove(Path(trial.name), coarse)
    return Retrofit(coarse.levels, chosen, reads_image, differing)


def choose_levels(levels: Sequence[Level]) -> list[Level]:
    """Choose the levels that the point head reads, finest first.

    Of the levels of one stride it reads the first: what the deeper ones know is in the coarse
    logits. Those coarser than ``COARSEST_STRIDE`` are left out unless there is no other.
    """
    first = {level.stride: level for level in reversed(levels)}
    finest_first = [first[stride] for stride in sorted(first)]
    fine = [level for level in finest_first if level.stride <= COARSEST_STRIDE]
    return fine or finest_first[:1]
