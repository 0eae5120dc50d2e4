import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_pointrend.checkpoints.fitting import read_checkpoint
from mmseg_pointrend.engine.training import prepare_training

Tool = Callable[..., None]
LOSSES = ("train/loss", "train/decode.coarse.loss_ce", "train/decode.point.loss_ce")


def history(checkpoint: Path) -> dict[str, list[float]]:
    """Every loss of a run up to a checkpoint."""
    scalars = read_checkpoint(checkpoint)["message_hub"]["log_scalars"]
    return {name: scalars[name].data[0].tolist() for name in LOSSES}


def validations(work_dir: Path) -> list[tuple[int, float]]:
    """Iteration and mIoU of each validation that any run in a work dir has logged."""
    rows = [
        json.loads(line)
        for log in sorted(work_dir.glob("*/vis_data/scalars.json"))
        for line in log.read_text().splitlines()
    ]
    return [(row["step"], row["mIoU"]) for row in rows if "mIoU" in row]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_is_that_of_an_uninterrupted_one(
    run_tool: Tool, tiny_config: Path, tmp_path: Path, num_workers: int
) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    options = (
        "--cfg-options",
        f"train_dataloader.num_workers={num_workers}",
        "train_cfg.max_iters=6",
        "train_cfg.val_interval=4",
        "default_hooks.checkpoint.interval=3",
        "model.decode_head.coarse_head.dropout_ratio=0.5",
    )
    run_tool("train", tiny_config, "--work-dir", whole, *options)
    resumed.mkdir()
    shutil.copy(whole / "iter_3.pth", resumed)
    run_tool("train", tiny_config, "--work-dir", resumed, "--resume", *options)
    losses = history(whole / "iter_6.pth")
    assert len(set(losses["train/loss"])) == 6
    assert history(resumed / "iter_6.pth") == losses
    torch.testing.assert_close(
        read_checkpoint(resumed / "iter_6.pth")["state_dict"],
        read_checkpoint(whole / "iter_6.pth")["state_dict"],
        rtol=0,
        atol=0,
    )
    assert validations(resumed) == validations(whole)
    assert [step for step, _ in validations(whole)] == [4, 6]


def test_a_validation_that_a_kill_has_prevented_is_made_up_for(
    run_tool: Tool, tiny_config: Path, tmp_path: Path
) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run_tool("train", tiny_config, "--work-dir", whole)
    resumed.mkdir()
    shutil.copy(whole / "iter_2.pth", resumed)  # what a kill in the last validation leaves
    run_tool("train", tiny_config, "--work-dir", resumed, "--resume")
    assert validations(resumed) == validations(whole)
    assert len(validations(resumed)) == 1


def test_validations_that_become_more_frequent_are_made_up_for(
    run_tool: Tool, tiny_config: Path, tmp_path: Path
) -> None:
    options = (
        "--cfg-options",
        "train_cfg.max_iters=4",
        "train_cfg.val_interval=4",
        "train_cfg.dynamic_intervals=[(1, 1)]",
        "default_hooks.checkpoint.interval=1",
    )
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run_tool("train", tiny_config, "--work-dir", whole, *options)
    resumed.mkdir()
    shutil.copy(whole / "iter_3.pth", resumed)
    run_tool("train", tiny_config, "--work-dir", resumed, "--resume", *options)
    assert validations(resumed) == validations(whole)[-2:]


def test_the_order_of_the_data_is_that_of_the_checkpoint_and_not_of_a_new_seed(
    run_tool: Tool, tiny_config: Path, tmp_path: Path
) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    options = ("train_cfg.max_iters=4", "randomness.seed=None")
    run_tool("train", tiny_config, "--work-dir", whole, "--cfg-options", *options)
    resumed.mkdir()
    shutil.copy(whole / "iter_3.pth", resumed)
    run_tool("train", tiny_config, "--work-dir", resumed, "--resume", "--cfg-options", *options)
    assert history(resumed / "iter_4.pth") == history(whole / "iter_4.pth")


@pytest.mark.parametrize("sampler", ["InfiniteSampler", "DefaultSampler"])
@pytest.mark.usefixtures("fresh_runs")
def test_training_returns_the_model(tiny_config: Path, tmp_path: Path, sampler: str) -> None:
    cfg = Config.fromfile(tiny_config)
    cfg.work_dir, cfg.train_dataloader.sampler.type = str(tmp_path / "run"), sampler
    runner = Runner.from_cfg(prepare_training(cfg))
    assert runner.train() is runner.model


def test_other_samplers_are_left_to_mmengine(
    run_tool: Tool, tiny_config: Path, tmp_path: Path
) -> None:
    options = ("--cfg-options", "train_dataloader.sampler.type=DefaultSampler")
    run_tool("train", tiny_config, "--work-dir", tmp_path / "run", *options)
    assert read_checkpoint(tmp_path / "run" / "iter_2.pth")["meta"]["iter"] == 2
