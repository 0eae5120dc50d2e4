"""Kills a training again and again, also while it writes."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path

import pytest
import torch

from mmseg_pointrend.checkpoints.fitting import read_checkpoint
from mmseg_pointrend.config import read_config
from mmseg_pointrend.engine.training import run_training

OPTIONS = {
    "train_cfg.max_iters": 20,
    "train_cfg.val_interval": 10,
    "default_hooks.checkpoint.interval": 2,
    "default_hooks.checkpoint.max_keep_ckpts": 2,
    "default_hooks.checkpoint.save_best": "mIoU",
    "train_dataloader.num_workers": 1,
}
LAST = "iter_20.pth"


def train(config: Path, work_dir: Path) -> None:
    os.setpgrp()  # a group of its own, for its workers to be killed with it
    log = os.open(f"{work_dir}.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(log, stream)
    cfg = read_config(config, OPTIONS)
    cfg.work_dir = str(work_dir)
    run_training(cfg, resume="auto")


def start(config: Path, work_dir: Path) -> Process:
    # forked, so that it need not import PyTorch again
    process = multiprocessing.get_context("fork").Process(target=train, args=(config, work_dir))
    process.start()
    return process


def kill(process: Process) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def kill_in_writing(process: Process, work_dir: Path, which: int) -> None:
    """Kill a run when it is writing its first, second, ... file, unless it ends before."""
    seen: set[str] = set(names(work_dir, ".partial"))  # what earlier kills have left
    count = len(seen)
    while process.is_alive():
        seen.update(names(work_dir, ".partial"))
        if len(seen) - count >= which:
            kill(process)
            return


def kill_at_random(process: Process, work_dir: Path, seconds: float) -> None:
    """Kill a run some time after its Runner was built, unless it ends before."""
    runs = folders(work_dir)
    while folders(work_dir) == runs and process.is_alive():
        time.sleep(0.1)
    process.join(seconds)
    if process.is_alive():
        kill(process)


def folders(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.is_dir()}


def names(folder: Path, suffix: str) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(suffix)]


def newest(work_dir: Path) -> int:
    """Iteration of the newest checkpoint, 0 if there is none."""
    return max((int(p.stem.partition("_")[2]) for p in work_dir.glob("iter_*.pth")), default=0)


def survive(config: Path, work_dir: Path, kills: int) -> list[tuple[str, int, int]]:
    """Train to the end in spite of kills; for each its kind and the newest checkpoints around it.

    Every second kill comes while a checkpoint is written. A run that has come to its end is begun
    anew, so that the number of kills does not depend on the machine.
    """
    draw = random.Random(0)
    work_dir.mkdir(parents=True)
    seen = []
    while len(seen) < kills:
        before = newest(work_dir)
        process = start(config, work_dir)
        kind: str
        end: Callable[..., None]
        if len(seen) % 2:
            kind, end, when = "writing", kill_in_writing, draw.randint(1, 6)
        else:
            kind, end, when = "random", kill_at_random, draw.uniform(0, 6)
        end(process, work_dir, when)
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), Path(f"{work_dir}.log").read_text()[-2000:]
        for name in names(work_dir, ".pth"):
            read_checkpoint(work_dir / name)  # whole, or it raises
        if process.exitcode == -signal.SIGKILL:
            seen.append((kind, before, newest(work_dir)))
            print(*seen[-1], flush=True)
        else:
            for name in [*names(work_dir, ".pth"), "last_checkpoint"]:
                (work_dir / name).unlink()
    process = start(config, work_dir)
    process.join()
    assert process.exitcode == 0
    return seen


def check_equal(work_dir: Path, undisturbed: Path) -> None:
    """Compare weights, optimizer and losses of two runs, to the last bit."""
    one, other = (read_checkpoint(folder / LAST) for folder in (work_dir, undisturbed))
    for key in ("state_dict", "optimizer"):
        torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)
    scalars, expected = (x["message_hub"]["log_scalars"] for x in (one, other))
    losses = [name for name in expected if "loss" in name]
    assert losses
    for name in losses:
        assert scalars[name].data[0].tolist() == expected[name].data[0].tolist()


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_runs")
def test_twenty_kills_lose_nothing(tiny_config: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    process = start(tiny_config, undisturbed)
    process.join()
    assert process.exitcode == 0
    kills = survive(tiny_config, tmp_path / "killed", kills=20)
    check_equal(tmp_path / "killed", undisturbed)
    assert sum(kind == "writing" for kind, *_ in kills) >= 5
