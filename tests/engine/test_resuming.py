import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import MessageHub
from mmengine.runner import save_checkpoint
from torch.utils.data import DataLoader, Dataset

from mmseg_pointrend import IterationSeedHook, WholeFileBackend
from mmseg_pointrend.checkpoints.fitting import read_checkpoint
from mmseg_pointrend.config import read_config
from mmseg_pointrend.engine.resuming import seed_everything
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.files import replacing

Tool = Callable[..., None]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_mmengine_writes_checkpoints_with_it(tiny_config: Path, tmp_path: Path) -> None:
    args = read_config(tiny_config).default_hooks.checkpoint.backend_args
    assert isinstance(get_file_backend(str(tmp_path), backend_args=args), WholeFileBackend)
    path = tmp_path / "folder" / "iter_1.pth"
    save_checkpoint(dict(state_dict=dict(w=torch.ones(2))), str(path), backend_args=args)
    assert torch.load(path)["state_dict"]["w"].tolist() == [1, 1]
    assert files(path.parent) == ["iter_1.pth"]


def test_what_a_kill_has_left_is_replaced(tmp_path: Path) -> None:
    path, partials = tmp_path / "iter_1.pth", set()
    for _ in range(2):
        with replacing(path) as partial:
            partials.add(partial)
    (left,) = partials
    left.write_bytes(b"half of an earlier one, which was longer")
    WholeFileBackend().put(b"new", path)
    assert (tmp_path / "iter_1.pth").read_bytes() == b"new"
    assert files(tmp_path) == ["iter_1.pth"]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "iter_1.pth"
    WholeFileBackend().put(b"old", path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(InputError, match=r"iter_1\.pth: cannot be written \(File too large\)"):
            WholeFileBackend().put(bytes(2**21), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["iter_1.pth"]


class RandomNumbers(Dataset):
    """A data set whose samples are what the three generators draw."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        return index, random.random(), np.random.random(), torch.rand(()).item()


class FromFirst(torch.utils.data.SequentialSampler):
    """A sampler that skips, as MMEngine's InfiniteSampler."""

    first = 0

    def skip(self, number: int) -> None:
        self.first = number

    def __iter__(self):
        return iter(range(self.first, 8))


def batches(num_workers: int, start: int = 0) -> list[list[list[float]]]:
    """What a run that starts at this iteration gets, two samples a batch."""
    dataset = RandomNumbers()
    sampler = FromFirst(dataset)
    sampler.skip(2 * start)
    loader = DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=num_workers)
    runner = SimpleNamespace(
        train_dataloader=loader, iter=start, seed=3, message_hub=MessageHub("test")
    )
    IterationSeedHook().before_train(runner)
    return [[column.tolist() for column in batch] for batch in loader]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_depend_on_their_number_alone(num_workers: int) -> None:
    expected = batches(num_workers=0)
    assert len({number for batch in expected for column in batch[1:] for number in column}) == 24
    assert batches(num_workers) == expected
    assert batches(num_workers, start=1) == expected[1:]


def test_steps_depend_on_their_number_alone() -> None:
    def draws(iteration: int, seed: int) -> tuple[float, float, float]:
        IterationSeedHook().before_train_iter(SimpleNamespace(iter=iteration, seed=seed), 0)
        return random.random(), np.random.random(), torch.rand(()).item()

    assert draws(5, seed=1) == draws(5, seed=1)
    assert len({draws(5, seed=1), draws(6, seed=1), draws(5, seed=2)}) == 3


def test_the_order_of_a_resumed_run_is_that_of_its_checkpoint() -> None:
    hub = MessageHub("test")
    for seed in (7, 8):  # randomness.seed=None draws another one at every start
        sampler = SimpleNamespace(seed=seed)
        loader = SimpleNamespace(sampler=sampler, dataset=RandomNumbers())
        runner = SimpleNamespace(train_dataloader=loader, iter=0, seed=3, message_hub=hub)
        IterationSeedHook().before_train(runner)
        assert sampler.seed == 7


def test_large_seeds_are_accepted() -> None:
    seed_everything(2**31, 0, 2**40)
    value = torch.rand(())
    seed_everything(2**31, 0, 2**40)
    assert torch.rand(()) == value


def test_a_resumed_run_is_that_of_an_uninterrupted_one(
    run_tool: Tool, tiny_config: Path, tmp_path: Path
) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    options = (
        "--cfg-options",
        "train_dataloader.num_workers=1",
        "train_cfg.max_iters=4",
        "train_cfg.val_interval=3",
        "default_hooks.checkpoint.interval=2",
        "model.decode_head.coarse_head.dropout_ratio=0.5",
    )
    run_tool("train", tiny_config, "--work-dir", whole, *options)
    resumed.mkdir()
    shutil.copy(whole / "iter_2.pth", resumed)
    (resumed / "last_checkpoint").write_text(str(resumed / "iter_2.pth"))
    run_tool("train", tiny_config, "--work-dir", resumed, "--resume", *options)
    one, other = (read_checkpoint(folder / "iter_4.pth") for folder in (whole, resumed))
    torch.testing.assert_close(one["state_dict"], other["state_dict"], rtol=0, atol=0)
    losses = [x["message_hub"]["log_scalars"]["train/loss"].data[0].tolist() for x in (one, other)]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 4
