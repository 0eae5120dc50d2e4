import random
from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.dataset import InfiniteSampler
from mmseg.registry import DATASETS

from mmseg_pointrend.datasets import SeededDataset, SeededInfiniteSampler
from mmseg_pointrend.engine.seeded import Draw, seed_everything
from mmseg_pointrend.errors import InputError


@DATASETS.register_module(force=True)
class RandomNumbers:
    """A data set whose samples are what the three generators draw."""

    metainfo = dict(classes=("a", "b"))

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        return index, random.random(), np.random.random(), torch.rand(()).item()


def draws(sampler: SeededInfiniteSampler, count: int) -> list[Draw]:
    return [*islice(iter(sampler), count)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_order_is_that_of_mmengines_sampler(shuffle: bool) -> None:
    data = range(7)
    seeded = SeededInfiniteSampler(data, shuffle, seed=3)
    expected = [*islice(iter(InfiniteSampler(data, shuffle, seed=3)), 20)]
    assert [draw.index for draw in draws(seeded, 20)] == expected


def test_it_begins_anywhere_and_again() -> None:
    sampler = SeededInfiniteSampler(range(7), seed=3)
    whole = draws(sampler, 30)
    for first in (0, 1, 7, 19):
        sampler.first = first
        assert draws(sampler, 11) == whole[first : first + 11]


def test_every_sample_of_every_rank_has_a_key_of_its_own() -> None:
    keys = set()
    for rank in range(3):
        sampler = SeededInfiniteSampler(range(7), seed=3)
        sampler.rank, sampler.world_size = rank, 3
        keys |= {draw.key for draw in draws(sampler, 20)}
    assert len(keys) == 60


def test_an_empty_data_set_is_refused_and_not_searched_forever() -> None:
    with pytest.raises(InputError, match="training set is empty"):
        SeededInfiniteSampler([], seed=3)


def test_samples_depend_on_their_key_alone() -> None:
    dataset = SeededDataset(dict(type="RandomNumbers", length=5))
    assert len(dataset) == 5
    assert dataset.metainfo["classes"] == ("a", "b")
    first = dataset[Draw(2, (3, 0, 1))]
    others = [dataset[Draw(2, key)] for key in ((3, 0, 2), (4, 0, 1), (3, 1, 1))]
    assert dataset[Draw(2, (3, 0, 1))] == first
    for k in (1, 2, 3):  # Python's, NumPy's and PyTorch's numbers
        assert len({first[k], *(other[k] for other in others)}) == 4


def test_large_seeds_are_welcome() -> None:
    seed_everything(2**31, 0, 2**40)
    value = torch.rand(())
    seed_everything(2**31, 0, 2**40)
    assert torch.rand(()) == value
