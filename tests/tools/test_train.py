import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmseg_pointrend import PointMLP
from mmseg_pointrend.checkpoints.fitting import read_checkpoint

CONFIGS = Path(__file__).parents[2] / "configs"

Tool = Callable[..., None]


def logged_steps(work_dir: Path) -> list[int]:
    """Iterations of the latest run whose losses were logged."""
    latest = max(work_dir.glob("*/vis_data/scalars.json"), key=lambda path: path.stat().st_mtime_ns)
    rows = [json.loads(line) for line in latest.read_text().splitlines()]
    return [row["step"] for row in rows if "decode.point.loss_ce" in row]


def one_line(error: pytest.ExceptionInfo[SystemExit]) -> str:
    """What a tool exits with: a message, that is status 1, of a single line."""
    message = error.value.code
    assert isinstance(message, str)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


def test_trains_with_overrides_and_resumes(
    run_tool: Tool, tiny_config: Path, tmp_path: Path
) -> None:
    option = "model.decode_head.renderer.subdivision_num_points=512"
    work_dir = tmp_path / "work_dirs" / "tiny"  # named after the config
    run_tool("train", tiny_config, "--cfg-options", option)
    assert logged_steps(work_dir) == [1, 2]
    dumped = Config.fromfile(work_dir / "tiny.py")
    assert dumped.model.decode_head.renderer.subdivision_num_points == 512
    assert dumped.model.decode_head.renderer.type == "DenseRenderer"

    run_tool("train", tiny_config, "--resume", "--cfg-options", option, "train_cfg.max_iters=3")
    assert logged_steps(work_dir) == [3]
    assert read_checkpoint(work_dir / "iter_3.pth")["meta"]["iter"] == 3

    elsewhere = tmp_path / "elsewhere"
    options = ("--work-dir", elsewhere, "--cfg-options", "train_cfg.max_iters=4")
    run_tool("train", tiny_config, "--resume", work_dir / "iter_2.pth", *options)
    assert logged_steps(elsewhere) == [3, 4]


def write_cityscapes(root: Path) -> None:
    """Two images a split of 64 x 128 pixels, with all classes and ignored pixels."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for k in range(2):
            name = f"aachen_{k:06d}_000019"
            image = root / "leftImg8bit" / split / "aachen" / f"{name}_leftImg8bit.png"
            label = root / "gtFine" / split / "aachen" / f"{name}_gtFine_labelTrainIds.png"
            for path in (image, label):
                path.parent.mkdir(parents=True, exist_ok=True)
            labels = rng.choice([*range(19), 255], (8, 16)).astype(np.uint8)
            Image.fromarray(rng.integers(0, 256, (64, 128, 3), dtype=np.uint8)).save(image)
            Image.fromarray(np.kron(labels, np.ones((8, 8), dtype=np.uint8))).save(label)


def test_trains_and_validates_on_a_tree_in_cityscapes_layout(
    run_tool: Tool, tmp_path: Path
) -> None:
    write_cityscapes(tmp_path / "data" / "cityscapes")
    run_tool(
        "train",
        CONFIGS / "pointrend_r50_cityscapes.py",
        "--work-dir",
        tmp_path / "run",
        "--cfg-options",
        "model.backbone.init_cfg=None",
        "model.data_preprocessor.size=(64,64)",
        "train_dataloader.dataset.pipeline.2.scale=(128,64)",
        "train_dataloader.dataset.pipeline.3.crop_size=(64,64)",
        "train_dataloader.num_workers=0",
        "train_dataloader.persistent_workers=False",
        "val_dataloader.dataset.pipeline.1.scale=(128,64)",
        "val_dataloader.num_workers=0",
        "val_dataloader.persistent_workers=False",
        "train_cfg.max_iters=2",
        "train_cfg.val_interval=2",
        "default_hooks.logger.interval=1",
        "default_hooks.checkpoint.save_last=False",
    )
    assert logged_steps(tmp_path / "run") == [1, 2]
    (log,) = (tmp_path / "run").glob("*/vis_data/scalars.json")
    assert '"mIoU"' in log.read_text()


@pytest.mark.parametrize("name", ["pointrend_r18_camvid", "pointrend_r50_cityscapes"])
def test_missing_data_are_named_in_one_line(run_tool: Tool, tmp_path: Path, name: str) -> None:
    with pytest.raises(SystemExit) as error:
        run_tool("train", CONFIGS / f"{name}.py")
    message = one_line(error)
    for part in (str(tmp_path), f"data/{name.rpartition('_')[2]}", "https://"):
        assert part in message
    assert not (tmp_path / "work_dirs").exists()


def test_mixed_precision_on_a_cpu(
    run_tool: Tool, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    seen = []
    forward = PointMLP.forward

    def spy(self: PointMLP, *args: torch.Tensor) -> torch.Tensor:
        seen.append(forward(self, *args))
        return seen[-1]

    monkeypatch.setattr(PointMLP, "forward", spy)
    # as a config for GPUs has it already
    wrapper = ("optim_wrapper.type=AmpOptimWrapper", "optim_wrapper.loss_scale=dynamic")
    options = ("--work-dir", tmp_path, "--cfg-options", *wrapper)
    run_tool("train", tiny_config, "--amp", "--channels-last", *options)
    # two steps in bfloat16, then a validation, in float32
    assert [x.dtype for x in seen[:3]] == [torch.bfloat16, torch.bfloat16, torch.float32]
    weights = read_checkpoint(tmp_path / "iter_2.pth")["state_dict"]
    assert {w.dtype for w in weights.values()} == {torch.float32, torch.int64}
    kernel = weights["backbone.layer1.0.conv1.weight"]
    assert kernel.is_contiguous(memory_format=torch.channels_last)
