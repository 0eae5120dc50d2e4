from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from mmseg.registry import DATASETS, METRICS

from mmseg_pointrend import PointMLP
from mmseg_pointrend.config import read_config
from mmseg_pointrend.engine.testing import run_test
from mmseg_pointrend.errors import InputError

pytestmark = pytest.mark.usefixtures("fresh_runs")
MASKS = ["shapes_seed1_000000.png", "shapes_seed1_000001.png"]


@pytest.fixture
def cfg(tiny_config: Path, tmp_path: Path) -> Config:
    return read_config(tiny_config, {"work_dir": str(tmp_path / "run")})


@pytest.fixture
def partial(checkpoint: Path, tmp_path: Path) -> str:
    """The checkpoint without the last layer of its point head."""
    content = torch.load(checkpoint, weights_only=False)
    weights = content["state_dict"]
    content["state_dict"] = {k: v for k, v in weights.items() if "point_head.fc_seg" not in k}
    torch.save(content, tmp_path / "partial.pth")
    return str(tmp_path / "partial.pth")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with the predictions of an earlier test."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / MASKS[0]).write_bytes(b"old")
    return folder


class Built(Exception):
    """Ends a test where the Runner would be built."""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "LabelEncoderDecoder"),
        (dict(logits=True), "EncoderDecoder"),
        (dict(tta=True), "SegTTAModel"),
    ],
)
def test_labels_are_asked_for_unless_logits_are_wanted(
    cfg: Config,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, bool],
    expected: str,
) -> None:
    def report(cfg: Config) -> None:
        raise Built(cfg.model.type)

    monkeypatch.setattr(Runner, "from_cfg", report)
    with pytest.raises(Built, match=f"^{expected}$"):
        run_test(cfg, str(checkpoint), **options)


@METRICS.register_module()
class ReadsLogits(BaseMetric):
    """A metric of a user that scores logits."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        self.results += [sample["seg_logits"]["data"].shape[0] for sample in data_samples]

    def compute_metrics(self, results: list) -> dict:
        return {"channels": float(np.mean(results))}


def test_metrics_of_logits_get_them(cfg: Config, checkpoint: Path) -> None:
    cfg.test_evaluator = [dict(type="IoUMetric"), dict(type="ReadsLogits")]
    assert run_test(cfg, str(checkpoint))["channels"] == 6


def test_augmentations_are_averaged(
    cfg: Config, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runners, test = [], Runner.test
    monkeypatch.setattr(Runner, "test", lambda self: (runners.append(self), test(self))[1])
    assert "mIoU" in run_test(cfg, str(checkpoint), tta=True)
    (runner,) = runners
    assert type(runner.model).__name__ == "SegTTAModel"
    assert len(runner.test_dataloader.dataset[0]["inputs"]) == 4
    weights = torch.load(checkpoint, weights_only=False)["state_dict"]
    torch.testing.assert_close(dict(runner.model.module.state_dict()), dict(weights))


def test_another_type_is_that_of_the_point_head(cfg: Config, checkpoint: Path) -> None:
    seen = set()

    def note(module: torch.nn.Module, _: tuple, output: torch.Tensor) -> None:
        if isinstance(module, PointMLP):
            seen.add(output.dtype)

    with torch.nn.modules.module.register_module_forward_hook(note):
        run_test(cfg, str(checkpoint), dtype="bfloat16")
    assert seen == {torch.bfloat16}


def test_a_checkpoint_that_lacks_weights_is_refused_unless_allowed(
    cfg: Config, partial: str, out: Path
) -> None:
    message = r"partial\.pth .*point_head\.fc_seg\.weight is missing.*--allow-partial"
    with pytest.raises(InputError, match=message):
        run_test(cfg, partial, out=str(out))
    assert (out / MASKS[0]).read_bytes() == b"old"
    run_test(cfg, partial, out=str(out), allow_partial=True)
    assert sorted(path.name for path in out.iterdir()) == MASKS
    assert (out / MASKS[0]).read_bytes() != b"old"


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        (dict(tta=True), dict(tta_model=None), "must have tta_model for --tta"),
        (dict(show_dir="shown"), dict(visualizer=None), "must have visualizer for --show-dir"),
        (dict(out="out"), dict(test_evaluator=None), "must have an IoUMetric for --out"),
    ],
)
def test_what_an_option_needs_is_named(
    cfg: Config,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict,
    changes: dict,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg.update(changes)
    with pytest.raises(InputError, match=message):
        run_test(cfg, str(checkpoint), **options)


@pytest.mark.parametrize("option", ["out", "show_dir"])
def test_a_file_in_the_place_of_a_folder_is_named(
    cfg: Config, checkpoint: Path, tmp_path: Path, option: str
) -> None:
    path = tmp_path / "file"
    path.write_text("kept")
    with pytest.raises(OSError, match="/file"):
        run_test(cfg, str(checkpoint), **{option: str(path)})
    assert path.read_text() == "kept"


def test_missing_files_are_named(cfg: Config, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.pth cannot be read as a checkpoint"):
        run_test(cfg, str(tmp_path / "gone.pth"))


def test_images_of_one_name_are_refused(
    cfg: Config, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the frames of videos, each in a folder of its own."""
    monkeypatch.setattr(
        DATASETS.get("ShapesDataset"),
        "get_data_info",
        lambda self, index: dict(img_path=f"shapes://{index}/frame.jpg"),
    )
    with pytest.raises(InputError, match="2 images have the name frame"):
        run_test(cfg, str(checkpoint), out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
