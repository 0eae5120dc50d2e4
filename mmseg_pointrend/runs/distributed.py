"""One run in several processes: how they find each other, and how they end together.

A launcher (torchrun, Slurm, MPI) starts the processes and MMEngine's Runner shares the work among
them. Here is what MMEngine lacks: CPUs, where its ``init_dist`` asks for a GPU, and errors that are
said once, in one line, when all processes meet them or when one of them is gone.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import all_reduce_params
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS  # the Runner looks for wrappers there and no deeper
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous

from ..errors import InputError

# Seconds that processes wait for each other before they give up, as in MMEngine's examples.
DEFAULT_TIMEOUT = 1800


class Launcher(NamedTuple):
    """What a launcher sets in the environment of its processes.

    Attributes:
        rank (str): Variable with the number of the process.
        world_size (str): Variable with the number of processes.
        local_rank (str): Variable with the number of the process on its machine.
        command (str): What starts them.
    """

    rank: str
    world_size: str
    local_rank: str
    command: str


LAUNCHERS = {
    "pytorch": Launcher("RANK", "WORLD_SIZE", "LOCAL_RANK", "torchrun --nproc_per_node=2 TOOL"),
    "slurm": Launcher(
        "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "srun --ntasks-per-node=2 python TOOL"
    ),
    "mpi": Launcher(
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "mpirun -np 2 python TOOL",
    ),
}


@contextmanager
def launched(launcher: str) -> Iterator["Processes"]:
    """Be one of the processes of a run, to the end of it.

    Whatever ends all of them leaves the block in one of them alone; the others exit with status 1
    and say nothing.

    Args:
        launcher (str): What has started the processes, a key of ``LAUNCHERS``, or 'none' for a run
            in this process alone, about which nothing is changed.

    Yields:
        Processes: The processes, which a config has yet to :meth:`~Processes.join`.

    Raises:
        InputError: If the process was not started as ``launcher`` says, or another one is gone.
    """
    processes = Processes(launcher)
    try:
        yield processes
    except (Exception, KeyboardInterrupt) as error:
        if not processes.is_first_to_report():
            sys.exit(1)
        lost = _broken_connection(error)
        if lost is not None:
            raise InputError(
                f"Another process of the run is gone ({_reason(lost)}). See what it or its "
                "machine says; a training goes on with --resume."
            ) from error
        raise
    processes.leave()


class Processes:
    """The processes that a launcher has started, of which this is one.

    Args:
        launcher (str): As in :func:`launched`.

    Raises:
        InputError: If the environment lacks what the launcher sets.
    """

    def __init__(self, launcher: str) -> None:
        self.launcher = launcher
        self._store: distributed.Store | None = None
        if launcher == "none":
            _refuse_several()
        else:
            _translate_environment(launcher)

    def join(self, cfg: Config) -> Config:
        """Connect the processes and have a config run in them.

        They talk by NCCL, or whatever ``env_cfg.dist_cfg.backend`` says, and by gloo without GPUs.
        Each draws random numbers of its own unless ``randomness.diff_rank_seed`` is False.

        Args:
            cfg (Config): Config of a run; changed in place.

        Returns:
            Config: ``cfg``.

        Raises:
            InputError: If a GPU is missing or the processes do not find each other.
        """
        if self.launcher == "none":
            return cfg
        if cfg.get("randomness") is None:
            cfg.randomness = {}
        cfg.randomness.setdefault("diff_rank_seed", True)
        settings = cfg.get("env_cfg", {}).get("dist_cfg", {})
        device = get_device()
        if device == "cpu":
            _wrap_for_cpus(cfg)
            self._connect("gloo", settings)
        elif device == "cuda":
            torch.cuda.set_device(_local_gpu(self.launcher))
            self._connect(settings.get("backend", "nccl"), settings)
        # MMEngine connects processes on other devices when the Runner is built.
        return cfg

    def _connect(self, backend: str, settings: dict) -> None:
        if "port" in settings:
            os.environ["MASTER_PORT"] = str(settings["port"])
        timeout = timedelta(seconds=settings.get("timeout", DEFAULT_TIMEOUT))
        try:
            self._store, rank, world_size = next(rendezvous("env://", timeout=timeout))
            distributed.init_process_group(
                backend,
                store=distributed.PrefixStore("group", self._store),
                rank=rank,
                world_size=world_size,
                timeout=timeout,
            )
        except (distributed.DistError, ValueError) as error:
            address = "{MASTER_ADDR}:{MASTER_PORT}".format_map(os.environ)
            raise InputError(
                f"The {os.environ['WORLD_SIZE']} processes cannot meet at {address}: "
                f"{_reason(error)}. Set MASTER_ADDR to the machine of rank 0 and MASTER_PORT "
                "to a port that is free there."
            ) from error

    def is_first_to_report(self) -> bool:
        """Whether it is this process that says what has gone wrong; true of one of them."""
        if self.launcher == "none":
            return True
        if self._store is None:
            # What fails before they have met fails in all processes of a machine.
            return os.environ["LOCAL_RANK"] == "0"
        try:
            return self._store.add("reports", 1) == 1
        except distributed.DistError:
            return True  # the process that counts is gone

    def leave(self) -> None:
        """Close the connections when all is done."""
        if self._store is not None:
            distributed.destroy_process_group()


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """A model that several processes train on CPUs.

    PyTorch's SyncBatchNorm wants GPUs. Here each process normalizes with the statistics of its own
    images, and after a step all have the mean of their running statistics, so that every process
    validates the model that rank 0 saves.

    Args:
        module (nn.Module): The model; its SyncBatchNorm becomes BatchNorm.
        **kwargs: As of :class:`torch.nn.parallel.DistributedDataParallel`.
    """

    def __init__(self, module: nn.Module, **kwargs) -> None:
        super().__init__(module=revert_sync_batchnorm(module), **{**kwargs, "device_ids": None})

    def train_step(
        self, data: dict | tuple | list, optim_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Take a step, then share the statistics of the batch norms.

        Args:
            data (dict | tuple | list): A batch from the data loader.
            optim_wrapper (OptimWrapper): What updates the weights.

        Returns:
            dict[str, Tensor]: Losses and accuracies to log.
        """
        log_vars = super().train_step(data, optim_wrapper)
        all_reduce_params(self.module.buffers(), op="mean")
        return log_vars


def _wrap_for_cpus(cfg: Config) -> None:
    if cfg.get("model_wrapper_cfg") is not None:  # the user's own, which only lacks this
        cfg.model_wrapper_cfg.setdefault("device_ids", None)
        return
    cfg.model_wrapper_cfg = ConfigDict(
        type="CPUDistributedDataParallel",
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    if os.environ["RANK"] == "0":
        print_log(
            "No GPU: the processes train on CPUs, and batch norms use the images of their own "
            "process (sync_bn needs GPUs)."
        )


def _local_gpu(launcher: str) -> int:
    """The GPU of this process, a number on its machine."""
    gpu, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if launcher == "slurm" and count == 1:
        return 0  # with --gpus-per-task=1 each process sees no other than its own
    if gpu >= count:
        raise InputError(
            f"Process {gpu + 1} on a machine with {count} GPU(s): start as many as there are GPUs, "
            "or hide them (CUDA_VISIBLE_DEVICES=) to run on CPUs."
        )
    return gpu


def _translate_environment(name: str) -> None:
    """Set what PyTorch reads from what a launcher sets.

    Raises:
        InputError: If something is missing.
    """
    launcher = LAUNCHERS[name]
    missing = [variable for variable in launcher[:3] if variable not in os.environ]
    if missing:
        raise InputError(
            f"--launcher {name} is for processes that it starts, with {', '.join(missing)} in "
            f"their environment: use '{launcher.command} ... --launcher {name}', or leave it out "
            "to run in this process."
        )
    for own, given in zip(("RANK", "WORLD_SIZE", "LOCAL_RANK"), launcher[:3], strict=True):
        os.environ[own] = os.environ[given]
    if "MASTER_ADDR" not in os.environ:
        os.environ["MASTER_ADDR"] = _first_machine(name)
    os.environ.setdefault("MASTER_PORT", "29500")


def _first_machine(launcher: str) -> str:
    """The host name of rank 0's machine."""
    if launcher == "slurm":
        nodes = os.environ.get("SLURM_JOB_NODELIST", os.environ.get("SLURM_NODELIST", ""))
        try:
            command = ["scontrol", "show", "hostnames", nodes]
            found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            return found.split()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            pass
    size = os.environ["WORLD_SIZE"]
    if launcher == "mpi" and os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == size:
        return "127.0.0.1"
    raise InputError(
        f"--launcher {launcher}: set MASTER_ADDR to the host name of the machine of rank 0, and "
        "pass it to all processes."
    )


def _refuse_several() -> None:
    """Without a launcher's name each of torchrun's processes would run, and write, on its own."""
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError(
            f"torchrun has started {os.environ['WORLD_SIZE']} processes, which know nothing of "
            "each other: add --launcher pytorch."
        )


def _broken_connection(error: BaseException | None) -> BaseException | None:
    """The error of a broken connection to another process, among an error and its causes."""
    while error is not None:
        # gloo raises a plain RuntimeError that names the file of its source
        if isinstance(error, distributed.DistError) or (
            isinstance(error, RuntimeError) and "gloo/" in str(error)
        ):
            return error
        error = error.__cause__
    return None


def _reason(error: BaseException) -> str:
    """The first sentence of an error, without the place in the library that it comes from."""
    first = str(error).strip().partition("\n")[0]
    return re.sub(r"^\[[^\]]*\]:? *", "", first).partition(". ")[0].rstrip(".")
