"""Kills a training again and again, also while it writes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmseg_pointrend.checkpoints.fitting import read_checkpoint

TRAIN = Path(__file__).parents[2] / "tools" / "train.py"
OPTIONS = (
    "--cfg-options",
    "train_cfg.max_iters=20",
    "train_cfg.val_interval=10",
    "default_hooks.checkpoint.interval=2",
    "default_hooks.checkpoint.save_best=mIoU",
    "train_dataloader.num_workers=1",
)
LAST = "iter_20.pth"


def start(config: Path, work_dir: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, TRAIN, config, "--work-dir", work_dir, *arguments, *OPTIONS]
    with (work_dir.parent / f"{work_dir.name}.log").open("ab") as log:
        # a group of its own, for its workers to be killed with it
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, preexec_fn=os.setpgrp
        )


def kill_in_writing(process: subprocess.Popen, work_dir: Path, which: int) -> None:
    """Kill a run when it is writing its first, second, ... file, unless it ends before."""
    seen: set[str] = set()
    while process.poll() is None:
        seen.update(name for name in os.listdir(work_dir) if name.endswith(".partial"))
        if len(seen) >= which:
            os.killpg(process.pid, signal.SIGKILL)
            return


def kill_at_random(process: subprocess.Popen, work_dir: Path, seconds: float) -> None:
    """Kill a run some time after its Runner was built, unless it ends before."""
    runs = folders(work_dir)
    while folders(work_dir) == runs and process.poll() is None:
        time.sleep(0.1)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def folders(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.is_dir()}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def newest(work_dir: Path) -> int:
    """Iteration of the newest checkpoint, 0 if there is none."""
    return max((int(p.stem.partition("_")[2]) for p in work_dir.glob("iter_*.pth")), default=0)


def survive(config: Path, work_dir: Path, kills: int) -> list[tuple[str, int, int]]:
    """Train to the end in spite of kills; for each its kind and the newest checkpoints around it.

    Every second kill comes while a checkpoint is written. A run that has come to its end is begun
    anew from an early checkpoint, so that the number of kills does not depend on the machine.
    """
    draw = random.Random(0)
    work_dir.mkdir(parents=True)
    seen = []
    while len(seen) < kills:
        before = newest(work_dir)
        process = start(config, work_dir, "--resume")
        if len(seen) % 2:
            kind = "writing"
            kill_in_writing(process, work_dir, draw.randint(1, 6))
        else:
            kind = "random"
            kill_at_random(process, work_dir, draw.uniform(0, 12))
        process.wait()
        assert process.returncode in (0, -signal.SIGKILL), f"exit status {process.returncode}"
        for path in work_dir.glob("iter_*.pth"):
            read_checkpoint(path)  # whole, or it raises
        if process.returncode == -signal.SIGKILL:
            seen.append((kind, before, newest(work_dir)))
        else:
            for path in work_dir.glob("*.pth"):
                path.unlink()
    assert start(config, work_dir, "--resume").wait() == 0
    return seen


def check_equal(work_dir: Path, undisturbed: Path) -> None:
    """Compare weights, optimizer, losses and the best score of two runs, to the last bit."""
    one, other = (read_checkpoint(folder / LAST) for folder in (work_dir, undisturbed))
    for key in ("state_dict", "optimizer"):
        torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)
    scalars, expected = (x["message_hub"]["log_scalars"] for x in (one, other))
    losses = [name for name in expected if "loss" in name]
    assert losses
    for name in losses:
        assert scalars[name].data[0].tolist() == expected[name].data[0].tolist()
    best, wanted = (x["message_hub"]["runtime_info"]["best_score"] for x in (one, other))
    assert best == wanted
    assert files(work_dir) == files(undisturbed)


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tiny_config: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    assert start(tiny_config, undisturbed).wait() == 0
    kills = survive(tiny_config, tmp_path / "killed", kills=20)
    check_equal(tmp_path / "killed", undisturbed)
    for kill in kills:
        print(*kill)
    assert sum(kind == "writing" for kind, *_ in kills) >= 5
