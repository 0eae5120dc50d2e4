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
from mmengine.runner import find_latest_checkpoint

from mmseg_pointrend.config import read_config
from mmseg_pointrend.engine.testing import run_test
from mmseg_pointrend.errors import InputError

METRICS = ("mIoU", "mBIoU", "mIoU_1px", "mIoU_2px", "mIoU_4px", "mIoU_8px", "mIoU_16px")
METRICS_FILE = "metrics.json"  # there when an experiment is done


@dataclass(frozen=True)
class Experiment:
    """One row of a table.

    Args:
        name (str): Name of the row and of its folder.
        config (str): Config file, relative to the folder of the configs.
        options (dict): Overrides of nested keys, as ``--cfg-options`` has them. Defaults to none.
        start_from (str, optional): Name of the experiment whose final weights of seed 0 training
            of every seed starts from, so that seeds share what is frozen. Defaults to None: from
            the config's initialization.
        weights_of (str, optional): Name of the experiment whose final weights are tested, for
            what changes prediction only. Defaults to None: train.
    """

    name: str
    config: str
    options: dict = field(default_factory=dict)
    start_from: str | None = None
    weights_of: str | None = None


def run_experiment(
    experiment: Experiment,
    seed: int,
    out: Path,
    configs: Path,
    train_tool: Path,
    amp: bool = False,
    channels_last: bool = False,
) -> dict[str, float]:
    """Train and test an experiment, going on where an earlier run was stopped.

    Args:
        experiment (Experiment): What to run.
        seed (int): Seed of crops, points and initialization.
        out (Path): Folder of all experiments; each has NAME/seed_SEED in it.
        configs (Path): Folder of the configs.
        train_tool (Path): ``tools/train.py``, run in a process of its own.
        amp (bool): Whether to train in mixed precision. Defaults to False.
        channels_last (bool): Whether to train in channels_last memory format. Defaults to False.

    Returns:
        dict[str, float]: The metrics, read from metrics.json if the experiment is done already.

    Raises:
        InputError: If the weights that it needs are not there yet, or training fails.
    """
    work_dir = out / experiment.name / f"seed_{seed}"
    done = work_dir / METRICS_FILE
    if done.exists():
        return json.loads(done.read_text())
    cfg = _config(experiment, seed, configs)
    if experiment.weights_of is not None:
        checkpoint = _trained(out, experiment.weights_of, seed)
    else:
        if experiment.start_from is not None:
            cfg.load_from = str(_trained(out, experiment.start_from, seed=0))
        _train(experiment.name, cfg, work_dir, train_tool, amp, channels_last)
        checkpoint = find_latest_checkpoint(str(work_dir))
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


def _config(experiment: Experiment, seed: int, configs: Path) -> Config:
    cfg = read_config(configs / experiment.config)
    cfg.merge_from_dict({**experiment.options, "randomness.seed": seed})
    return cfg


def _train(
    name: str, cfg: Config, work_dir: Path, train_tool: Path, amp: bool, channels_last: bool
) -> None:
    work_dir.mkdir(parents=True, exist_ok=True)
    config = work_dir / "experiment.py"
    cfg.dump(config)
    command = [sys.executable, str(train_tool), str(config), "--resume"]
    command += ["--amp"] if amp else []
    command += ["--channels-last"] if channels_last else []
    command += ["--work-dir", str(work_dir)]
    # the config imports benchmarks, which is not installed
    path = [str(train_tool.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    if subprocess.run(command, check=False, env=env).returncode != 0:
        raise InputError(f"Training of {name} failed; its output is above.")


def _trained(out: Path, name: str, seed: int) -> Path:
    work_dir = out / name / f"seed_{seed}"
    if not (work_dir / METRICS_FILE).exists():
        raise InputError(f"{name} with seed {seed} is not done; run it first.")
    return Path(find_latest_checkpoint(str(work_dir)))


def _mean_and_spread(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{spread}"
