import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPTIONS = (
    "train_cfg.max_iters=4",
    "default_hooks.logger.interval=2",
    "default_hooks.checkpoint.interval=4",
    "train_dataloader.batch_size=2",
    "val_dataloader.dataset.length=2",
    "test_dataloader.dataset.length=2",
    *(
        f"{loader}_dataloader.{setting}"
        for loader in ("train", "val", "test")
        for setting in ("num_workers=0", "persistent_workers=False")
    ),
)


@pytest.mark.slow
def test_the_demo_shows_its_progress_and_ends_with_its_report(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools/demo.py"), "--out", "demo"]
    result = subprocess.run(
        [*command, "--cfg-options", *OPTIONS], cwd=tmp_path, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    for name, line in zip(("fpn_r18_shapes", "pointrend_r18_shapes"), lines[1:3], strict=True):
        assert line.startswith(name)
        assert "4/4" in line
        assert "loss" in line
        assert "mBIoU" in line
    assert "mengine" not in result.stdout
    (report,) = [line for line in lines if line.startswith("Report: ")]
    assert (tmp_path / report.removeprefix("Report: ")).is_file()
