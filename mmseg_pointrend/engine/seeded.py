"""Training data whose order and augmentation depend on nothing but a seed and a position."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import BaseDataset, InfiniteSampler
from mmseg.registry import DATA_SAMPLERS, DATASETS

from ..errors import InputError

# What is drawn with a seed: numbers of different kinds must not repeat each other.
SAMPLE, STEP = 0, 1


def seed_everything(*key: int) -> None:
    """Seed Python, NumPy and PyTorch, on every device.

    Args:
        *key (int): Non-negative numbers. Other numbers, or the same in another order, give
            independent draws.
    """
    seeds = np.random.SeedSequence(key).generate_state(2, np.uint64)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[0] >> 32))
    torch.manual_seed(int(seeds[1]))


class Draw(NamedTuple):
    """A sample that a sampler asks for.

    Attributes:
        index (int): Its index in the data set.
        key (tuple[int, ...]): What :func:`seed_everything` takes before it is augmented.
    """

    index: int
    key: tuple[int, ...]


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """An InfiniteSampler that can begin anywhere and gives every sample a seed of its own.

    Goes with a :class:`SeededDataset`.

    Args:
        dataset (Sized): The data set.
        shuffle (bool): Whether each round through the data set has a random order. Defaults to
            True.
        seed (int, optional): Of orders and augmentation. Defaults to None: a random one, the same
            for all ranks.

    Attributes:
        first (int): Samples of this rank that the next iteration over the sampler leaves out.

    Raises:
        InputError: If the data set is empty, in which an infinite sampler would search forever.
    """

    def __init__(self, dataset: BaseDataset, shuffle: bool = True, seed: int | None = None) -> None:
        super().__init__(dataset, shuffle, seed)
        if self.size == 0:
            raise InputError("The training set is empty: its folders have no images for it.")
        self.first = 0

    def __iter__(self) -> Iterator[Draw]:
        """Go through the samples from ``first`` on, without end."""
        indices = islice(self._indices_of_rank(), self.first, None)
        for position, index in enumerate(indices, self.first):
            number = position * self.world_size + self.rank
            yield Draw(index, (self.seed, SAMPLE, number))


@DATASETS.register_module()
class SeededDataset:
    """A data set that seeds the random numbers of its pipeline before every sample.

    So it makes no difference which worker loads a sample, or what was loaded before it.

    Args:
        dataset (dict): Config of the data set.
    """

    def __init__(self, dataset: dict) -> None:
        self.dataset = DATASETS.build(dataset)

    @property
    def metainfo(self) -> dict:
        """dict: Classes and palette."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read the list of samples."""
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Any:
        seed_everything(*draw.key)
        return self.dataset[draw.index]
