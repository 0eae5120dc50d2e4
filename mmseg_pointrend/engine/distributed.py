"""One run in several processes: how they find each other, and how they end together.

A launcher (torchrun, Slurm, MPI) starts the processes and MMEngine's Runner shares the work among
them. Here is what MMEngine lacks: CPUs, where its ``init_dist`` asks for a GPU, and errors that are
said once, in one line, when all processes meet them or when one of them is gone.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.device import get_device
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from ..errors import InputError
from .cpu_parallel import wrap_for_cpus
from .launchers import refuse_several, translate_environment

# Seconds that processes wait for each other before they give up, as in MMEngine's examples.
DEFAULT_TIMEOUT = 1800


@contextmanager
def launched(launcher: str) -> Iterator["Processes"]:
    """Be one of the processes of a run, to the end of it.

    Whatever ends all of them leaves the block in one of them alone; the others exit with status 1
    and say nothing.

    Args:
        launcher (str): What has started the processes, a key of
            :data:`~.launchers.LAUNCHERS`, or 'none' for a run in this process alone, about which
            nothing is changed.

    Yields:
        Processes: The processes, which a config has yet to :meth:`~Processes.join`.

    Raises:
        InputError: If the process was not started as ``launcher`` says, or another one is gone.
    """
    processes = Processes(launcher)
    try:
        yield processes
    except (Exception, KeyboardInterrupt) as error:
        if not processes.claim_report():
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
            refuse_several()
        else:
            translate_environment(launcher)

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
            wrap_for_cpus(cfg)
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

    def claim_report(self) -> bool:
        """Claim to be the process that says what has gone wrong; true once, in one of them."""
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
