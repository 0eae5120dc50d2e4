"""Time and peak memory of several ways to do the same."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

MIB = 2**20


@dataclass
class Measurement:
    """What one way takes.

    Args:
        seconds (list[float]): Wall-clock times of its runs.
        peak_bytes (int): Peak memory beyond what was there before.
        remarks (dict): Anything else that is worth a column.
    """

    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    remarks: dict[str, str | float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return median(self.seconds)


def compare(
    sides: Mapping[str, Callable[[], object]], device: torch.device, rounds: int = 7
) -> dict[str, Measurement]:
    """Run several ways in turns, so that whatever else goes on is the same for all of them.

    Args:
        sides (Mapping[str, Callable]): The ways, by name.
        device (torch.device): Where they run.
        rounds (int): Number of timed runs of each, after one to warm up. Defaults to 7.

    Returns:
        dict[str, Measurement]: Times and peak memory of each.
    """
    results = {
        name: Measurement(peak_bytes=peak_memory(run, device)) for name, run in sides.items()
    }
    for _ in range(rounds):
        for name, run in sides.items():
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            results[name].seconds.append(time.perf_counter() - start)
    return results


def peak_memory(run: Callable[[], object], device: torch.device) -> int:
    """Most bytes that were allocated at a time in a run, beyond those before it.

    On a GPU as PyTorch's allocator knows it. On a CPU the sum of what PyTorch's allocator reports
    to the profiler, allocation by allocation: exact and the same in every run, where the resident
    size of the process depends on what the C library gives back. It leaves out the scratch memory
    of oneDNN and BLAS.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    current = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return peak


def as_rows(results: Mapping[str, Measurement]) -> dict[str, dict[str, float | str]]:
    """Results as numbers under names with units.

    Ratios are to the first side, which is ours. That of times is the median over the rounds of the
    ratio within a round, which the drift of a machine that warms up or is shared leaves alone.
    """
    ours = next(iter(results.values()))
    return {
        name: {
            "median ms": round(1e3 * result.median, 2),
            "min ms": round(1e3 * min(result.seconds), 2),
            "time ratio": round(_paired_ratio(result.seconds, ours.seconds), 2),
            "peak MiB": round(result.peak_bytes / MIB, 1),
            "memory ratio": round(result.peak_bytes / max(ours.peak_bytes, 1), 2),
            **result.remarks,
        }
        for name, result in results.items()
    }


def print_table(title: str, rows: Mapping[str, Mapping[str, float | str]]) -> None:
    """Print :func:`as_rows` as a table."""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    table = Table("", *columns, title=title, title_justify="left")
    for name, row in rows.items():
        table.add_row(name, *(str(row.get(column, "")) for column in columns))
    Console(width=160).print(table)


def _paired_ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    return median(a / b for a, b in zip(seconds, others, strict=True))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
