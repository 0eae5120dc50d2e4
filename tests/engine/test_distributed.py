"""Runs in several processes: joined by hand, by torchrun, and cut short."""

import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from conftest import ROOT, _forget_runs
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import distributed
from torch.nn.modules.batchnorm import SyncBatchNorm

from mmseg_pointrend import UncertaintyPointSampler
from mmseg_pointrend.checkpoints.fitting import read_checkpoint
from mmseg_pointrend.engine import distributed as ours
from mmseg_pointrend.engine import hooks
from mmseg_pointrend.engine.distributed import Processes, launched
from mmseg_pointrend.engine.hooks import InvalidLossHook
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.images import read_image

RunTool = Callable[..., None]
# Of launchers that the tests themselves may have been started by.
FOREIGN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_", "SLURM_", "OMPI_", "TORCHELASTIC_")


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """An environment without launchers, whose changes are undone."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    with mock.patch.dict(os.environ, kept, clear=True):
        yield


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def rank_environment(rank: int, world_size: int) -> dict[str, str]:
    """What torchrun sets on one machine."""
    return dict(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=free_port(),
    )


# Environments -------------------------------------------------------------------------------------


def test_without_a_launcher_nothing_changes() -> None:
    cfg = Config(dict(randomness=dict(seed=0)))
    before = dict(os.environ)
    with launched("none") as processes:
        assert processes.join(cfg) is cfg
    assert cfg.to_dict() == dict(randomness=dict(seed=0))
    assert not distributed.is_initialized()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("launcher", "names", "command"),
    [
        ("pytorch", "RANK, WORLD_SIZE, LOCAL_RANK", "torchrun"),
        ("slurm", "SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID", "srun"),
        ("mpi", "OMPI_COMM_WORLD_RANK, ", "mpirun"),
    ],
)
def test_a_launcher_that_has_not_started_the_tool_is_refused_in_one_line(
    launcher: str, names: str, command: str, run_tool: RunTool, tiny_config: Path
) -> None:
    os.environ.pop("LOCAL_RANK", None)  # that of run_tool
    for tool, more in (("train", ()), ("test", ("checkpoint.pth",))):
        with pytest.raises(SystemExit) as exit_info:
            run_tool(tool, tiny_config, *more, "--launcher", launcher)
        message = exit_info.value.code
        assert re.fullmatch(rf"error: --launcher {launcher} .*{names}.*'{command} [^\n]*", message)


def test_torchrun_without_launcher_is_refused() -> None:
    os.environ.update(TORCHELASTIC_RUN_ID="none", WORLD_SIZE="2")
    with pytest.raises(InputError, match=r"2 processes.*--launcher pytorch"):
        Processes("none")
    os.environ["WORLD_SIZE"] = "1"
    Processes("none")


def test_slurm_is_translated(tmp_path: Path) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$3" = "node[3-4]" ] && printf "node3\\nnode4\\n"\n')
    scontrol.chmod(0o755)
    os.environ["PATH"] = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    os.environ.update(SLURM_PROCID="3", SLURM_NTASKS="4", SLURM_LOCALID="1")
    os.environ["SLURM_JOB_NODELIST"] = "node[3-4]"
    Processes("slurm")
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    assert [os.environ[name] for name in names] == ["3", "4", "1", "node3", "29500"]

    os.environ.update(MASTER_ADDR="login", MASTER_PORT="1234")
    Processes("slurm")
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("login", "1234")


def test_mpi_on_one_machine_needs_no_address() -> None:
    os.environ.update(
        OMPI_COMM_WORLD_RANK="1", OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_LOCAL_RANK="1"
    )
    os.environ["OMPI_COMM_WORLD_LOCAL_SIZE"] = "1"
    with pytest.raises(InputError, match="--launcher mpi: set MASTER_ADDR"):
        Processes("mpi")
    os.environ["OMPI_COMM_WORLD_LOCAL_SIZE"] = "2"
    Processes("mpi")
    assert os.environ["MASTER_ADDR"] == "127.0.0.1"


def test_processes_that_do_not_meet_say_so_in_one_line() -> None:
    os.environ.update(rank_environment(1, 2))
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend="nccl", timeout=1))))
    with pytest.raises(InputError, match=r"2 processes cannot meet at 127\.0\.0\.1:\d+: ") as error:
        Processes("pytorch").join(cfg)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("backend", [None, "mpi"])
def test_gpus_talk_by_nccl_or_as_the_config_says(
    backend: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    monkeypatch.setattr(ours, "get_device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", called.append)
    monkeypatch.setattr(ours, "rendezvous", lambda *_, **__: iter([("store", 1, 2)]))
    monkeypatch.setattr(distributed, "PrefixStore", lambda *_: None)
    monkeypatch.setattr(distributed, "init_process_group", lambda name, **_: called.append(name))
    os.environ.update(rank_environment(1, 2))
    cfg = Config(dict(sync_bn="torch"))
    if backend is not None:
        cfg.env_cfg = dict(dist_cfg=dict(backend=backend))
    Processes("pytorch").join(cfg)
    assert called == [1, backend or "nccl"]
    assert "model_wrapper_cfg" not in cfg
    assert cfg.randomness.diff_rank_seed


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "get_device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    os.environ.update(rank_environment(1, 2))
    with pytest.raises(InputError, match=r"Process 2 on a machine with 1 GPU.*CUDA_VISIBLE"):
        Processes("pytorch").join(Config())
    assert ours._local_gpu("slurm") == 0


# Reports ------------------------------------------------------------------------------------------


def test_one_process_reports() -> None:
    store = distributed.HashStore()
    reports = []
    for rank in (1, 0):
        os.environ.update(rank_environment(rank, 2))
        processes = Processes("pytorch")
        reports.append(processes.claim_report())
        processes._store = store
        reports.append(processes.claim_report())
    # Before they have met it is the first of a machine, afterwards whoever comes first.
    assert reports == [False, True, True, False]


def test_processes_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ.update(rank_environment(0, 2))
    gone = RuntimeError("[gloo/tcp/pair.cc:547] Connection closed by peer [::1]:1. GLHF!\nmore")
    message = r"Another process .*\(Connection closed by peer \[::1\]:1\)\. .*--resume"
    with pytest.raises(InputError, match=message), launched("pytorch"):
        raise gone
    with pytest.raises(InputError, match=message), launched("pytorch"):
        raise InputError("The Runner cannot be built from the config") from gone
    # errors that are no one's loss stay what they are
    with pytest.raises(RuntimeError, match="a defect"), launched("pytorch"):
        raise RuntimeError("a defect")
    monkeypatch.setattr(Processes, "claim_report", lambda self: False)
    for error in (gone, InputError("too few classes"), KeyboardInterrupt()):
        with pytest.raises(SystemExit) as exit_info, launched("pytorch"):
            raise error
        assert exit_info.value.code == 1


def test_a_loss_that_one_process_loses_stops_all(monkeypatch: pytest.MonkeyPatch) -> None:
    runner, losses = mock.Mock(iter=4), dict(loss=torch.tensor(1.5))
    hook = InvalidLossHook()
    hook.after_train_iter(runner, 0, {}, losses)
    monkeypatch.setattr(hooks, "all_reduce", lambda found, op: found.fill_(1))
    with pytest.raises(FloatingPointError, match="iteration 5: that of another process"):
        hook.after_train_iter(runner, 0, {}, losses)


# Runs ---------------------------------------------------------------------------------------------


def test_synchronized_batch_norms_train_on_cpus(
    run_tool: RunTool, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "get_device", lambda: "cpu")
    runners = []
    train = Runner.train
    monkeypatch.setattr(Runner, "train", lambda self: (runners.append(self), train(self))[1])
    os.environ.update(rank_environment(0, 1))
    run_tool(
        *("train", tiny_config, "--launcher", "pytorch", "--work-dir", tmp_path / "run"),
        *("--cfg-options", "model.backbone.norm_cfg.type=SyncBN", "train_cfg.max_iters=1"),
    )
    (runner,) = runners
    assert is_model_wrapper(runner.model)
    assert not any(isinstance(module, SyncBatchNorm) for module in runner.model.modules())
    assert not distributed.is_initialized()
    assert not [name for name in read_weights(tmp_path / "run/iter_1.pth") if "module." in name]


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)["state_dict"]


def train_and_test(rank: int, ports: list[str], config: Path, folder: Path) -> None:
    """One of two processes that train, validate and test; leaves notes in ``folder``."""
    os.chdir(folder)
    os.environ.update(rank_environment(rank, 2), OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    points, runners = [], []
    sample, build = UncertaintyPointSampler.__call__, Runner.from_cfg.__func__

    def noting(self: UncertaintyPointSampler, *args, **kwargs) -> torch.Tensor:
        points.append(sample(self, *args, **kwargs))
        return points[-1]

    def noted(cls: type[Runner], cfg: Config) -> Runner:
        runners.append(build(cls, cfg))
        return runners[-1]

    UncertaintyPointSampler.__call__ = noting
    Runner.from_cfg = classmethod(noted)
    for port, arguments in zip(
        ports,
        (
            ("train", config, "--work-dir", "trained"),
            ("test", config, "trained/iter_2.pth", "--out", "masks", "--work-dir", "tested"),
        ),
        strict=True,
    ):
        os.environ["MASTER_PORT"] = port
        tool, *rest = map(str, arguments)
        sys.argv = [tool, *rest, "--launcher", "pytorch"]
        _forget_runs()
        runpy.run_path(str(ROOT / "tools" / f"{tool}.py"), run_name="__main__")
    weights = [runner.model.module.state_dict() for runner in runners]
    torch.save(dict(points=points, trained=weights[0], tested=weights[1]), f"notes{rank}.pth")


@pytest.fixture(scope="module")
def odd_config(tiny_config: Path) -> Path:
    """``tiny_config`` with three images to validate and to test on."""
    path = tiny_config.with_name("odd.py")
    three = "dict(dataset=dict(length=3))"
    path.write_text(f'_base_ = "tiny.py"\nval_dataloader = {three}\ntest_dataloader = {three}\n')
    return path


@pytest.fixture(scope="module")
def two_processes(odd_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave that train and test ``odd_config``."""
    folder = tmp_path_factory.mktemp("two")
    ports = [free_port(), free_port()]
    with mock.patch.dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES=""):
        mp.spawn(train_and_test, (ports, odd_config, folder), nprocs=2)
    return folder


def read_metrics(work_dir: Path) -> dict[str, float]:
    (log,) = work_dir.glob("*/*.json")
    return {k: v for k, v in json.loads(log.read_text()).items() if "time" not in k}


def test_metrics_and_masks_are_those_of_one_process(
    two_processes: Path, odd_config: Path, run_tool: RunTool, tmp_path: Path
) -> None:
    checkpoint = two_processes / "trained" / "iter_2.pth"
    run_tool("test", odd_config, checkpoint, "--out", "masks", "--work-dir", tmp_path / "tested")
    expected = read_metrics(tmp_path / "tested")
    assert {"mIoU", "mBIoU", "mIoU_1px"} <= expected.keys()
    assert read_metrics(two_processes / "tested") == pytest.approx(expected, abs=1e-6)

    names = sorted(path.name for path in (two_processes / "masks").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert len(names) == 3
    for name in names:
        one, other = (read_image(folder / "masks" / name) for folder in (two_processes, tmp_path))
        np.testing.assert_array_equal(one, other)


def test_training_validates_what_it_saves(two_processes: Path) -> None:
    (log,) = (two_processes / "trained").glob("*/vis_data/scalars.json")
    (validation,) = [row for row in map(json.loads, log.read_text().splitlines()) if "mIoU" in row]
    tested = read_metrics(two_processes / "tested")
    assert {name: validation[name] for name in tested} == pytest.approx(tested, abs=1e-6)


def test_processes_draw_their_own_points_and_share_their_weights(two_processes: Path) -> None:
    first, second = (torch.load(two_processes / f"notes{rank}.pth") for rank in (0, 1))
    assert len(first["points"]) == len(second["points"]) == 2
    for one, other in zip(first["points"], second["points"], strict=True):
        assert one.shape == other.shape
        pairs = [set(map(tuple, coords.flatten(0, 1).tolist())) for coords in (one, other)]
        assert pairs[0].isdisjoint(pairs[1])
    saved = read_weights(two_processes / "trained" / "iter_2.pth")
    for notes in (first, second):
        for weights in (notes["trained"], notes["tested"]):
            torch.testing.assert_close(dict(weights), dict(saved), rtol=0, atol=0)


def start_training(config: Path, folder: Path, *options: str) -> subprocess.Popen:
    """Two processes of torchrun, as a user starts them."""
    torchrun = ("torch.distributed.run", "--standalone", "--nproc_per_node=2")
    train = (ROOT / "tools" / "train.py", config, "--launcher", "pytorch", "--work-dir", folder)
    return subprocess.Popen(
        [sys.executable, "-m", *torchrun, *map(str, train), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def process_of_rank(rank: int, parent: int) -> int:
    """Process id of a child with this rank."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (found,) = (
        int(child)
        for child in children
        if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
    )
    return found


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_run(rank: int, tiny_config: Path, tmp_path: Path) -> None:
    endless = ("--cfg-options", "train_cfg.max_iters=100000", "train_cfg.val_interval=100000")
    run = start_training(tiny_config, tmp_path, *endless)
    try:
        while not (tmp_path / "last_checkpoint").exists():
            assert run.poll() is None, run.stdout.read()
            time.sleep(0.1)
        os.kill(process_of_rank(rank, run.pid), signal.SIGKILL)
        output, _ = run.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode != 0
    assert "SIGKILL" in output
    # Whoever is left says one line, if torchrun leaves it the time, and no traceback.
    errors = re.findall("^error: .*", output, flags=re.MULTILINE)
    assert len(errors) <= 1
    assert all("Another process of the run is gone" in error for error in errors)
    assert 'tools/train.py", line' not in output
    last = Path((tmp_path / "last_checkpoint").read_text())
    assert read_checkpoint(last)["meta"]["iter"] >= 1


@pytest.mark.slow
def test_an_error_of_all_processes_is_said_once(tiny_config: Path, tmp_path: Path) -> None:
    for option, words in (
        ("model.decode_head.num_classes=5", "head has 5 classes, ShapesDataset has 6"),
        ("load_from=gone.pth", "gone.pth: no such checkpoint file"),
        (
            "train_dataloader.dataset.pipeline.99.type=Resize",
            "cannot take the overrides (--cfg-options)",
        ),
    ):
        run = start_training(tiny_config, tmp_path, "--cfg-options", option)
        output, _ = run.communicate()
        assert run.returncode != 0
        assert len(re.findall("^error: ", output, flags=re.MULTILINE)) == 1, output
        assert words in output
