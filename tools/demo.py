"""Train PointRend and its coarse-only twin on drawn shapes, compare them and draw some results."""

import argparse
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin slow down a busy machine

import mmcv
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from rich.console import Console
from rich.table import Table

from mmseg_pointrend.config import read_config
from mmseg_pointrend.engine.testing import run_test
from mmseg_pointrend.errors import one_line_errors
from mmseg_pointrend.inference.images import write_png
from mmseg_pointrend.inference.inferencer import PointRendInferencer
from mmseg_pointrend.visualization import explain_figure, figure_to_image

ROOT = Path(__file__).resolve().parent.parent
COARSE, POINTREND = "fpn_r18_shapes", "pointrend_r18_shapes"
METRICS = ("mIoU", "mBIoU", "mIoU_2px")
NUM_PICTURES = 4

console = Console(highlight=False)


def config_path(name: str) -> Path:
    return ROOT / "configs" / f"{name}.py"


def train(name: str, work_dir: Path, options: list[str]) -> Path:
    """Train a config in a process of its own, show its progress, and return its last checkpoint."""
    command = [sys.executable, str(ROOT / "tools/train.py"), str(config_path(name))]
    command += ["--work-dir", str(work_dir)]
    command += ["--cfg-options", *options] if options else []
    process = subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=1
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Iter(" in line:
            console.print(line.split(" - ")[-1].strip(), style="dim", markup=False)
    if process.wait() != 0:
        sys.exit("".join(lines[-20:]) + f"error: training {name} failed; its last lines are above.")
    return work_dir / (work_dir / "last_checkpoint").read_text().split("/")[-1]


def score(name: str, checkpoint: Path, work_dir: Path) -> dict[str, float]:
    cfg = read_config(config_path(name), {"work_dir": str(work_dir), "log_level": "ERROR"})
    return run_test(cfg, str(checkpoint))


def draw(cfg: Config, checkpoint: Path, out: Path) -> list[Path]:
    """Draw the first test images: image, truth, coarse, PointRend, and the points of each step."""
    inferencer = PointRendInferencer(cfg, checkpoint)
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    paths = []
    for index in range(NUM_PICTURES):
        info = dataset.get_data_info(index)
        image = mmcv.imread(info["img_path"])
        truth = mmcv.imread(info["seg_map_path"], flag="unchanged")
        figure = explain_figure(image, inferencer.explain(image), inferencer.palette, truth)
        paths.append(out / f"strip_{index}.png")
        write_png(paths[-1], figure_to_image(figure))
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="work_dirs/demo", type=Path, help="folder to write to")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="for both trainings"
    )
    args = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # of the libraries, many and harmless
    start = time.monotonic()
    table = Table("model", *METRICS, title="Test set of shapes, percent")
    with one_line_errors():
        for name in (COARSE, POINTREND):
            console.rule(f"training configs/{name}.py")
            checkpoint = train(name, args.out / name, args.cfg_options)
            metrics = score(name, checkpoint, args.out / name)
            table.add_row(name, *(f"{metrics[metric]:.2f}" for metric in METRICS))
        pictures = draw(read_config(config_path(POINTREND)), checkpoint, args.out)
    console.rule("result")
    console.print(table)
    console.print("Pictures:", *(str(path) for path in pictures))
    console.print(f"{time.monotonic() - start:.0f} seconds")


if __name__ == "__main__":
    main()
