import json
from pathlib import Path

import pytest
from mmengine.config import Config

from benchmarks.experiments import METRICS, Experiment, markdown_table, run_experiment
from mmseg_pointrend.errors import InputError

POINTS = "model.decode_head.renderer.subdivision_num_points"
# Takes the place of tools/train.py: puts a checkpoint there, without a training.
TOOL = """
import shutil, sys
folder = sys.argv[sys.argv.index("--work-dir") + 1]
shutil.copy("{checkpoint}", folder)
open(folder + "/last_checkpoint", "w").write(folder + "/{checkpoint.name}")
"""


@pytest.fixture
def train_tool(checkpoint: Path, tmp_path: Path) -> Path:
    path = tmp_path / "repository" / "tools" / "train.py"
    path.parent.mkdir(parents=True)
    path.write_text(TOOL.format(checkpoint=checkpoint))
    return path


@pytest.mark.usefixtures("fresh_runs")
def test_trains_once_and_goes_on_from_other_experiments(
    tiny_config: Path, tmp_path: Path, train_tool: Path
) -> None:
    out = tmp_path / "out"

    def run(experiment: Experiment, seed: int = 0) -> dict[str, float]:
        return run_experiment(experiment, seed, out, tiny_config.parent, train_tool)

    first = run(Experiment("first", tiny_config.name, {"train_cfg.max_iters": 1}))
    assert set(METRICS) < set(first)
    folder = out / "first" / "seed_0"
    cfg = Config.fromfile(folder / "experiment.py")
    assert (cfg.randomness.seed, cfg.train_cfg.max_iters) == (0, 1)

    (folder / "metrics.json").write_text(json.dumps({"mIoU": -1}))
    assert run(Experiment("first", "no such file")) == {"mIoU": -1}

    rendered = run(Experiment("rendered", tiny_config.name, {POINTS: 1}, weights_of="first"))
    assert set(METRICS) < set(rendered)
    assert not [*out.glob("rendered/**/*.pth")]

    second = Experiment("second", tiny_config.name, {"train_cfg.max_iters": 1}, start_from="first")
    run(second, seed=3)
    cfg = Config.fromfile(out / "second/seed_3/experiment.py")
    assert cfg.randomness.seed == 3
    assert cfg.load_from == str(folder / "iter_2.pth")


@pytest.mark.parametrize("key", ["weights_of", "start_from"])
def test_refuses_what_is_not_trained_yet(
    tiny_config: Path, tmp_path: Path, train_tool: Path, key: str
) -> None:
    (tmp_path / "first" / "seed_0").mkdir(parents=True)  # begun, but not done
    experiment = Experiment("second", tiny_config.name, **{key: "first"})
    with pytest.raises(InputError, match=r"first with seed 0 is not done; run it first\."):
        run_experiment(experiment, 0, tmp_path, tiny_config.parent, train_tool)


def test_tables_have_mean_and_spread() -> None:
    one, other = dict.fromkeys(METRICS, 1.0), dict.fromkeys(METRICS, 3.0)
    table = markdown_table([("a", [one]), ("nothing", []), ("b", [one, other])]).splitlines()
    assert table[0].startswith("| experiment | seeds | mIoU | mBIoU |")
    assert table[2] == "| a | 1 |" + " 1.00 |" * len(METRICS)
    assert table[3] == "| b | 2 |" + " 2.00 ± 1.41 |" * len(METRICS)
    assert len(table) == 4
