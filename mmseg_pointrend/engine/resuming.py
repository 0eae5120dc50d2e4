"""Runs that are killed and resumed: whole checkpoints, and a random state for each iteration."""

import os
import random
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch.utils.data import Dataset, get_worker_info

from ..files import replacing

# What is drawn with a seed: numbers of different kinds must not repeat each other.
BATCH, STEP = 0, 1


@register_backend("whole")
class WholeFileBackend(LocalBackend):
    """The local disk, where a file is replaced at once or not at all.

    MMEngine's own backend writes in place, and a run that is killed meanwhile leaves half a
    checkpoint. MMEngine's CheckpointHook takes it by ``backend_args=dict(backend="whole")``.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file beside its place and move it there once it is on the disk; an InputError if
        it cannot be written."""
        with replacing(Path(filepath)) as partial, partial.open("wb") as file:
            file.write(obj)
            file.flush()
            os.fsync(file.fileno())


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seed every training step and every batch by its number, so that a resumed run draws the
    training points, dropout and crops of an uninterrupted one.

    MMEngine resumes the weights, the optimizer and the position in the data, but no random state.
    """

    def before_train(self, runner: Runner) -> None:
        loader, hub = runner.train_dataloader, runner.message_hub
        sampler = loader.sampler
        if hasattr(sampler, "seed"):  # without randomness.seed, a new one at every start
            sampler.seed = hub.get_info("sampler_seed", sampler.seed)
            hub.update_info("sampler_seed", sampler.seed)
        # MMEngine before 0.10.12 loads again what was trained on; later ones skip it.
        first = runner.iter if hasattr(sampler, "skip") else 0
        # PyTorch's loader gets a batch through this method of a data set that has it.
        loader.dataset.__getitems__ = _SeededBatches(loader.dataset, runner.seed, first)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        seed_everything(runner.seed, STEP, get_rank(), runner.iter)


class _SeededBatches:
    """Loads batches ``first``, ``first + 1``, ... of a data set, each with a seed of its own."""

    def __init__(self, dataset: Dataset, seed: int, first: int) -> None:
        self.dataset, self.key, self.first = dataset, (seed, BATCH, get_rank()), first
        self.numbers: count | None = None

    def __call__(self, indices: Sequence[int]) -> list[Any]:
        if self.numbers is None:  # PyTorch gives batches to its workers in turn
            worker = get_worker_info()
            offset, step = (worker.id, worker.num_workers) if worker else (0, 1)
            self.numbers = count(self.first + offset, step)
        seed_everything(*self.key, next(self.numbers))
        return [self.dataset[index] for index in indices]


def seed_everything(*key: int) -> None:
    """Seed Python, NumPy and PyTorch by non-negative numbers; others give independent draws."""
    seeds = np.random.SeedSequence(key).generate_state(2, np.uint64)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[0] >> 32))
    torch.manual_seed(int(seeds[1]))
