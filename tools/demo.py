"""Train PointRend and its coarse-only twin on drawn shapes, and compare them in a report."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    # Threads that spin for long slow down a busy machine: docs/performance.md
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="1000")

from mmengine.config import DictAction
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from mmseg_pointrend.config import read_config
from mmseg_pointrend.engine.testing import run_test
from mmseg_pointrend.errors import InputError, ignore_known_warnings, one_line_errors
from mmseg_pointrend.report.hook import ReportHook

ROOT = Path(__file__).resolve().parent.parent
COARSE, POINTREND = "fpn_r18_shapes", "pointrend_r18_shapes"
METRICS = ("mIoU", "mBIoU", "mIoU_2px")
NUM_VALIDATIONS = 2

# of this file: what the libraries print while the models are tested goes nowhere
console = Console(file=sys.stdout, highlight=False)


def config_path(name: str) -> Path:
    return ROOT / "configs" / f"{name}.py"


def train(name: str, work_dir: Path, options: dict) -> Path:
    """Train a config in a process of its own with a progress bar; return its last checkpoint."""
    cfg = read_config(config_path(name), options)
    total = cfg.train_cfg.max_iters
    options = {"train_cfg.val_interval": max(1, total // NUM_VALIDATIONS), **options}
    command = [sys.executable, str(ROOT / "tools/train.py"), str(config_path(name))]
    command += ["--work-dir", str(work_dir), "--cfg-options"]
    command += [f"{key}={value}" for key, value in options.items()]
    work_dir.mkdir(parents=True, exist_ok=True)
    output = work_dir / "output.txt"
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[validation]}"),
    )
    # The loss arrives every 20 iterations, which may take longer than rich's 30 seconds.
    progress = Progress(*columns, console=console, speed_estimate_period=600, refresh_per_second=2)
    with output.open("w") as file, progress as bar:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        task = bar.add_task(name, total=total, loss="starting", validation="")
        for record in logged(work_dir, process):
            if "loss" in record:
                loss = f"loss {record['loss']:.3f}"
                bar.update(task, completed=record["step"], loss=loss)
            elif "mIoU" in record:
                validation = f"mIoU {record['mIoU']:.1f}, mBIoU {record['mBIoU']:.1f}"
                bar.update(task, validation=validation)
        if process.returncode == 0:
            bar.update(task, completed=total)
    if process.returncode != 0:
        lines = output.read_text(errors="replace").splitlines() or ["no message"]
        raise InputError(f"Training {name} failed: {lines[-1]} (all that it printed: {output}).")
    return work_dir / (work_dir / "last_checkpoint").read_text().split("/")[-1]


def logged(work_dir: Path, process: subprocess.Popen) -> Iterator[dict]:
    """What MMEngine logs in JSON lines, until the process ends."""
    old = {*work_dir.glob("*/vis_data/scalars.json")}
    offset, running = 0, True
    while running:
        running = process.poll() is None  # once more after its end
        for path in {*work_dir.glob("*/vis_data/scalars.json")} - old:
            with path.open() as file:
                file.seek(offset)
                while (line := file.readline()).endswith("\n"):
                    offset = file.tell()
                    yield json.loads(line)
        time.sleep(0.5 * running)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="work_dirs/demo", type=Path, help="folder to write to")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        default={},
        metavar="KEY=VALUE",
        help="for both models",
    )
    args = parser.parse_args()
    ignore_known_warnings()
    start = time.monotonic()
    predictions, report = args.out / "predictions" / COARSE, args.out / "report"
    with one_line_errors():
        ReportHook(str(report))  # for its errors, before the training
        console.print("Training a coarse model and PointRend on drawn shapes.")
        coarse, pointrend = (
            train(name, args.out / name, args.cfg_options) for name in (COARSE, POINTREND)
        )
        with console.status("testing both"), redirect_stdout(StringIO()):
            options = {**args.cfg_options, "log_level": "ERROR"}
            scores = {COARSE: test(COARSE, coarse, options, out=str(predictions))}
            hook = ReportHook(str(report), against=str(predictions))
            scores[POINTREND] = test(POINTREND, pointrend, options, report=hook)
    table = Table("model", *METRICS, title="Test set of shapes, percent")
    for name, metrics in scores.items():
        table.add_row(name, *(f"{metrics[metric]:.2f}" for metric in METRICS))
    console.print(table)
    console.print(f"Report: {report / 'index.html'}", soft_wrap=True)
    console.print(f"{time.monotonic() - start:.0f} seconds")


def test(name: str, checkpoint: Path, options: dict, **kwargs: object) -> dict[str, float]:
    """Metrics of a checkpoint, in the work dir of its training."""
    work_dir = str(checkpoint.parent)
    cfg = read_config(config_path(name), {**options, "visualizer.name": name, "work_dir": work_dir})
    return run_test(cfg, str(checkpoint), **kwargs)


if __name__ == "__main__":
    main()
