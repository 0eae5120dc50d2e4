"""What launchers (torchrun, Slurm, MPI) tell the processes that they start."""

import os
import subprocess
from typing import NamedTuple

from ..errors import InputError


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


def translate_environment(name: str) -> None:
    """Set what PyTorch reads from what a launcher sets.

    Args:
        name (str): A key of :data:`LAUNCHERS`.

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


def refuse_several() -> None:
    """Refuse to be one of torchrun's processes that does not know of the others.

    Raises:
        InputError: If it is: each would run, and write, on its own.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError(
            f"torchrun has started {os.environ['WORLD_SIZE']} processes, which know nothing of "
            "each other: add --launcher pytorch."
        )
