from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_pointrend.config import read_config
from mmseg_pointrend.engine.training import run_training
from mmseg_pointrend.errors import InputError

pytestmark = pytest.mark.usefixtures("fresh_runs")


@pytest.fixture
def cfg(tiny_config: Path, tmp_path: Path) -> Config:
    return read_config(tiny_config, {"work_dir": str(tmp_path), "train_cfg.max_iters": 1})


class NoRunner:
    """Takes the place of the Runner where only the config counts."""

    train_loop = val_loop = None

    def __init__(self, cfg: Config) -> None:
        self.cfg, self.lines = cfg, []
        self.logger = SimpleNamespace(info=self.lines.append)

    def train(self) -> "NoRunner":
        return self


@pytest.fixture
def no_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "from_cfg", NoRunner)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.decode_head.num_clases", 5, "unexpected keyword argument 'num_clases'"),
        ("train_cfg.max_iter", 5, "unexpected keyword argument 'max_iter'"),
    ],
)
def test_a_typo_is_named_in_one_line(cfg: Config, key: str, value: object, message: str) -> None:
    cfg.merge_from_dict({key: value})
    with pytest.raises(InputError, match=message) as error:
        run_training(cfg)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("no_runner")
def test_our_config_lacks_nothing(cfg: Config) -> None:
    assert run_training(cfg).lines == []


@pytest.mark.usefixtures("no_runner")
def test_what_a_config_lacks_is_said_in_one_line_and_not_added(cfg: Config) -> None:
    cfg.custom_hooks = [dict(type="DataCheckHook")]
    del cfg.default_hooks.checkpoint["backend_args"]
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[0].type, pipeline[1].type = "LoadImageFromFile", "LoadAnnotations"
    before = cfg.to_dict()
    runner = run_training(cfg)
    assert runner.lines == [
        "The config runs as in MMSegmentation, without CheckpointCheckHook, InvalidLossHook, "
        "IterationSeedHook, LoadCheckedImage, LoadCheckedAnnotations, "
        "checkpoint.backend_args=dict(backend='whole'); see docs/safety.md."
    ]
    assert runner.cfg.to_dict() == before


@pytest.mark.usefixtures("no_runner")
def test_a_run_without_a_checkpoint_begins_again_from_where_it_began(cfg: Config) -> None:
    cfg.load_from = "start.pth"
    runner = run_training(cfg, resume="auto")
    assert (runner.cfg.resume, runner.cfg.load_from) == (False, "start.pth")


@pytest.mark.usefixtures("no_runner")
def test_the_latest_checkpoint_is_resumed(cfg: Config, tmp_path: Path) -> None:
    cfg.load_from = "start.pth"
    (tmp_path / "last_checkpoint").write_text("run/iter_2.pth")
    runner = run_training(cfg, resume="auto")
    assert (runner.cfg.resume, runner.cfg.load_from) == (True, "run/iter_2.pth")


def test_mixed_precision_replaces_no_wrapper_of_the_users(cfg: Config) -> None:
    cfg.optim_wrapper.type = "ApexOptimWrapper"
    with pytest.raises(InputError, match=r"must be an OptimWrapper for --amp, got ApexOptimW"):
        run_training(cfg, amp=True)
