from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import MODELS

from mmseg_pointrend import CheckpointCheckHook, InvalidLossHook
from mmseg_pointrend.checkpoints.fitting import read_checkpoint
from mmseg_pointrend.config import read_config
from mmseg_pointrend.errors import InputError


class Poison(Hook):
    """Makes the coarse head diverge after an iteration."""

    def __init__(self, iteration: int, value: float) -> None:
        self.iteration = iteration
        self.value = value

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object) -> None:
        if runner.iter == self.iteration:
            runner.model.decode_head.coarse_head.conv_seg.bias.data.fill_(self.value)


@pytest.mark.usefixtures("fresh_runs")
def test_a_loss_that_is_not_finite_stops_training(tiny_config: Path, tmp_path: Path) -> None:
    cfg = read_config(tiny_config, {"work_dir": str(tmp_path), "train_cfg.max_iters": 4})
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Poison(iteration=2, value=float("nan")))
    with pytest.raises(FloatingPointError) as error:
        runner.train()
    message = str(error.value)
    assert "iteration 3" in message
    assert "decode.coarse.loss_ce=nan" in message
    assert "acc_seg" not in message
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["iter_1.pth", "iter_2.pth"]
    weights = read_checkpoint(tmp_path / "iter_2.pth")["state_dict"]
    assert all(weight.isfinite().all() for weight in weights.values())


def test_finite_losses_pass() -> None:
    outputs = dict(loss=torch.tensor(1.5), acc=torch.tensor(0.0))
    InvalidLossHook().after_train_iter(SimpleNamespace(iter=0), 0, {}, outputs)
    outputs["acc"] = torch.tensor(float("-inf"))
    with pytest.raises(FloatingPointError, match="iteration 1: acc=-inf"):
        InvalidLossHook().after_train_iter(SimpleNamespace(iter=0), 0, {}, outputs)


@pytest.fixture
def runner(tiny_model: Callable[..., ConfigDict], tmp_path: Path) -> SimpleNamespace:
    model = MODELS.build(tiny_model())
    return SimpleNamespace(model=model, cfg=Config(dict(load_from="a.pth")), work_dir=str(tmp_path))


def test_weights_that_do_not_fit_are_refused_unless_allowed(runner: SimpleNamespace) -> None:
    weights = runner.model.state_dict()
    CheckpointCheckHook().after_load_checkpoint(runner, dict(state_dict=weights))
    del weights["backbone.layer1.0.conv1.weight"]
    with pytest.raises(InputError, match=r"a\.pth .*layer1\.0\.conv1\.weight is missing"):
        CheckpointCheckHook().after_load_checkpoint(runner, dict(state_dict=weights))
    hook = CheckpointCheckHook(allow_partial=True)
    hook.after_load_checkpoint(runner, dict(state_dict=weights))


@pytest.mark.usefixtures("trusted_mmengine")  # which puts things back
def test_a_run_with_the_hook_can_read_checkpoints_of_mmengine(checkpoint: Path) -> None:
    torch.serialization.clear_safe_globals()
    CheckpointCheckHook().before_run(None)
    assert torch.load(checkpoint, weights_only=True)["meta"]["iter"] == 2


def test_a_checkpoint_names_no_file_outside_of_the_work_dir_as_its_best(
    runner: SimpleNamespace, tmp_path: Path
) -> None:
    """MMEngine would remove it."""
    info = dict(
        best_ckpt=str(tmp_path / "best_mIoU_iter_2.pth"),
        best_ckpt_mIoU=str(tmp_path.parent / "precious.txt"),
        best_score=1.0,
    )
    checkpoint = dict(state_dict=runner.model.state_dict(), message_hub=dict(runtime_info=info))
    CheckpointCheckHook().after_load_checkpoint(runner, checkpoint)
    assert info.keys() == {"best_ckpt", "best_score"}
