"""What two processes share, on CPUs. MMEngine's launchers need GPUs; it keeps a process group that
stands already."""

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import distributed

from mmseg_pointrend import InvalidLossHook, IterationSeedHook
from mmseg_pointrend.config import read_config
from mmseg_pointrend.engine.testing import run_test
from mmseg_pointrend.inference.images import read_image

THREE_IMAGES = {"test_dataloader.dataset.length": 3}


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def one_of_two(rank: int, port: str, config: Path, checkpoint: Path, folder: Path) -> None:
    """What each process does; leaves its results in ``folder``."""
    torch.set_num_threads(1)  # those of the process that it was forked from are not there
    cv2.setNumThreads(0)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    distributed.init_process_group("gloo")
    results: dict[str, Any] = {}

    IterationSeedHook().before_train_iter(SimpleNamespace(iter=0, seed=3), 0)
    results["draw"] = torch.rand(()).item()
    losses = dict(loss=torch.tensor([1.0, float("nan")][rank]))
    try:
        InvalidLossHook().after_train_iter(SimpleNamespace(iter=4), 0, {}, losses)
    except FloatingPointError as error:
        results["error"] = str(error)

    wrapper = dict(type="MMDistributedDataParallel", device_ids=None)  # by default a GPU
    on_cpus = dict(model_wrapper_cfg=wrapper, sync_bn=None, launcher="pytorch")
    cfg = read_config(config, THREE_IMAGES | on_cpus)
    cfg.work_dir = str(folder / "run")
    results["metrics"] = run_test(cfg, str(checkpoint), out=str(folder / "masks"))
    torch.save(results, folder / f"{rank}.pth")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(
    tiny_config: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of a run in two processes, and their results."""
    folder = tmp_path_factory.mktemp("two")
    # forked, so that they need not import PyTorch again; CUDA does not survive that
    method = "spawn" if torch.cuda.is_available() else "fork"
    arguments = (free_port(), tiny_config, checkpoint, folder)
    with mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1"):
        mp.start_processes(one_of_two, arguments, nprocs=2, start_method=method)
    return folder, [torch.load(folder / f"{rank}.pth", weights_only=False) for rank in (0, 1)]


@pytest.mark.usefixtures("fresh_runs")
def test_metrics_and_masks_are_those_of_one_process(
    two_processes: tuple[Path, list[dict]], tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    cfg = read_config(tiny_config, THREE_IMAGES)
    cfg.work_dir = str(tmp_path / "run")
    expected = run_test(cfg, str(checkpoint), out=str(tmp_path / "masks"))
    assert {"mIoU", "mBIoU", "mIoU_1px"} <= expected.keys()
    folder, results = two_processes
    for result in results:
        assert result["metrics"] == pytest.approx(expected, abs=1e-6)
    names = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert len(names) == 3
    assert sorted(path.name for path in (folder / "masks").iterdir()) == names
    for name in names:
        one, other = (read_image(path / "masks" / name) for path in (tmp_path, folder))
        np.testing.assert_array_equal(one, other)


def test_processes_draw_their_own_points(two_processes: tuple[Path, list[dict]]) -> None:
    _, (first, second) = two_processes
    assert first["draw"] != second["draw"]


def test_a_loss_that_one_process_loses_stops_all(two_processes: tuple[Path, list[dict]]) -> None:
    _, (first, second) = two_processes
    assert "iteration 5: in another process" in first["error"]
    assert "iteration 5: loss=nan" in second["error"]
