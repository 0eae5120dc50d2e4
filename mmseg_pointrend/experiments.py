"""Paired experiments: the same seeds and schedule, one thing changed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

from mmengine.config import Config

from .command_line import read_config
from .errors import InputError
from .testing import run_test

METRICS = ("mIoU", "mBIoU", "mIoU_1px", "mIoU_2px", "mIoU_4px", "mIoU_8px", "mIoU_16px")


@dataclass(frozen=True)
class Experiment:
    """One row of a table.

    Args:
        name (str): Name of the row and of its folder.
        config (str): Config file, relative to the folder of the configs.
        options (dict): Overrides of nested keys, as ``--cfg-options`` has them. Defaults to none.
        weights_of (str, optional): Name of the experiment whose weights are tested, for what
            changes prediction only. Defaults to None: train.
    """

    name: str
    config: str
    options: dict = field(default_factory=dict)
    weights_of: str | None = None


def run_experiment(
    experiment: Experiment,
    seed: int,
    out: Path,
    configs: Path,
    train_tool: Path,
    amp: bool = False,
) -> dict[str, float]:
    """Train and test an experiment, going on where an earlier run was stopped.

    Args:
        experiment (Experiment): What to run.
        seed (int): Seed of crops, points and initialization.
        out (Path): Folder of all experiments; each has NAME/seed_SEED in it.
        configs (Path): Folder of the configs.
        train_tool (Path): ``tools/train.py``, run in a process of its own.
        amp (bool): Whether to train in mixed precision, in channels_last. Defaults to False.

    Returns:
        dict[str, float]: The metrics, read from metrics.json if the experiment is done already.

    Raises:
        InputError: If the weights that it tests are not there yet, or training fails.
    """
    work_dir = out / experiment.name / f"seed_{seed}"
    done = work_dir / "metrics.json"
    if done.exists():
        return json.loads(done.read_text())
    options = {**experiment.options, "randomness.seed": seed}
    cfg = read_config(configs / experiment.config, options)
    if experiment.weights_of is None:
        _train(experiment, options, work_dir, configs, train_tool, amp)
        checkpoint = _final_checkpoint(work_dir, cfg)
    else:
        checkpoint = _final_checkpoint(out / experiment.weights_of / f"seed_{seed}", cfg)
    cfg.work_dir = str(work_dir)
    metrics = {name: float(value) for name, value in run_test(cfg, str(checkpoint)).items()}
    partial = done.with_suffix(".partial")
    partial.write_text(json.dumps(metrics, indent=2))
    os.replace(partial, done)
    return metrics


def markdown_table(rows: Iterable[tuple[str, Sequence[dict[str, float]]]]) -> str:
    """Format results of several seeds, mean ± standard deviation, as a Markdown table.

    Args:
        rows (Iterable[tuple[str, Sequence[dict[str, float]]]]): Name and metrics of each seed.

    Returns:
        str: The table, a row for each name that has results.
    """
    lines = [
        "| experiment | seeds | " + " | ".join(METRICS) + " |",
        "| --- | --- |" + " --- |" * len(METRICS),
    ]
    for name, results in rows:
        if results:
            cells = [_mean_and_spread([result[metric] for result in results]) for metric in METRICS]
            lines.append(f"| {name} | {len(results)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _train(
    experiment: Experiment,
    options: dict,
    work_dir: Path,
    configs: Path,
    train_tool: Path,
    amp: bool,
) -> None:
    command = [sys.executable, str(train_tool), str(configs / experiment.config), "--resume"]
    command += ["--amp", "--channels-last"] if amp else []
    command += ["--work-dir", str(work_dir), "--cfg-options"]
    command += [f"{key}={value}" for key, value in options.items()]
    if subprocess.run(command, check=False).returncode != 0:
        raise InputError(f"Training of {experiment.name} failed; its output is above.")


def _final_checkpoint(work_dir: Path, cfg: Config) -> Path:
    path = work_dir / f"iter_{cfg.train_cfg.max_iters}.pth"
    if not path.exists():
        raise InputError(f"{path} is missing; run the experiment that trains it first.")
    return path


def _mean_and_spread(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{spread}"
