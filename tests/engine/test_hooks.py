from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_pointrend import InvalidLossHook
from mmseg_pointrend.checkpoints.fitting import read_checkpoint


class Poison(Hook):
    """Makes the coarse head diverge after an iteration."""

    def __init__(self, iteration: int, value: float) -> None:
        self.iteration = iteration
        self.value = value

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object) -> None:
        if runner.iter == self.iteration:
            runner.model.decode_head.coarse_head.conv_seg.bias.data.fill_(self.value)


def make_runner(config: Path, folder: Path, **overrides: object) -> Runner:
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({"work_dir": str(folder), **overrides})
    return Runner.from_cfg(cfg)


@pytest.mark.usefixtures("fresh_runs")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_training(
    tiny_config: Path, tmp_path: Path, value: float
) -> None:
    runner = make_runner(tiny_config, tmp_path, **{"train_cfg.max_iters": 4})
    runner.register_hook(Poison(iteration=2, value=value))
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
