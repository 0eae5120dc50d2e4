import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from mmseg.registry import DATASETS, METRICS
from PIL import Image

from mmseg_pointrend import PointMLP
from mmseg_pointrend.inference.images import read_image
from mmseg_pointrend.inference.inferencer import PointRendInferencer

Tool = Callable[..., None]


@pytest.fixture
def partial(checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint without the last layer of its point head."""
    content = torch.load(checkpoint, weights_only=False)
    weights = content["state_dict"]
    content["state_dict"] = {k: v for k, v in weights.items() if "point_head.fc_seg" not in k}
    path = tmp_path / "partial.pth"
    torch.save(content, path)
    return path


def metrics(work_dir: Path) -> dict[str, float]:
    """What the only run in a work dir has logged."""
    (log,) = work_dir.glob("*/*.json")
    return json.loads(log.read_text())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_the_label_maps_and_metrics(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "shapes_seed1_000000.png").write_bytes(b"old")
    (out / "other.txt").write_text("kept")
    run_tool("test", tiny_config, checkpoint, "--out", out, "--work-dir", tmp_path / "run")
    masks = ["shapes_seed1_000000.png", "shapes_seed1_000001.png"]
    assert names(out) == ["other.txt", *masks]
    cfg = Config.fromfile(tiny_config)
    inferencer = PointRendInferencer(cfg, checkpoint, device="cpu")
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    right, total = 0, 0
    for name, item in zip(masks, dataset, strict=True):
        with Image.open(out / name) as mask:
            labels = np.asarray(mask)
        image = item["inputs"].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(labels, inferencer.segment(image))
        right += (labels == item["data_samples"].gt_sem_seg.data[0].numpy()).sum()
        total += labels.size
    assert metrics(tmp_path / "run")["aAcc"] == pytest.approx(100 * right / total, abs=0.01)
    # the config in the work dir can be used again, also by MMSegmentation's own tools
    dumped = Config.fromfile(tmp_path / "run" / tiny_config.name)
    assert dumped.test_evaluator == cfg.test_evaluator
    assert dumped.custom_imports.imports == ["mmseg_pointrend"]


def test_images_of_one_name_are_refused(
    run_tool: Tool,
    tiny_config: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as the frames of videos, each in a folder of its own."""
    kind = DATASETS.get("ShapesDataset")
    info = kind.get_data_info
    monkeypatch.setattr(
        kind, "get_data_info", lambda self, k: {**info(self, k), "img_path": f"{k}/frame.jpg"}
    )
    with pytest.raises(SystemExit, match=r"0/frame\.jpg and 1/frame\.jpg would both .*frame\.png"):
        run_tool("test", tiny_config, checkpoint, "--out", tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_something_has_to_be_measured(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.py"
    config.write_text(f"_base_ = {str(tiny_config)!r}\ntest_evaluator = None\n")
    with pytest.raises(SystemExit, match="needs a test_evaluator"):
        run_tool("test", config, checkpoint)


def test_paints_images(run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    run_tool("test", tiny_config, checkpoint, "--show-dir", shown, "--work-dir", tmp_path / "run")
    painted = sorted(shown.rglob("*.png"))
    assert len(painted) == 2
    # prediction and truth side by side
    assert all(read_image(path).shape[0] == 64 for path in painted)


def test_averages_over_augmentations_of_the_trained_model(
    run_tool: Tool,
    tiny_config: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runners = []
    test = Runner.test
    monkeypatch.setattr(Runner, "test", lambda self: (runners.append(self), test(self))[1])
    run_tool("test", tiny_config, checkpoint, "--tta", "--work-dir", tmp_path / "run")
    assert "mIoU" in metrics(tmp_path / "run")
    (runner,) = runners
    assert type(runner.model).__name__ == "SegTTAModel"
    assert len(runner.test_dataloader.dataset[0]["inputs"]) == 4
    weights = torch.load(checkpoint, weights_only=False)["state_dict"]
    torch.testing.assert_close(dict(runner.model.module.state_dict()), dict(weights))


def test_test_time_augmentation_has_to_be_in_the_config(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    text = Config.fromfile(tiny_config).pretty_text.replace("tta_pipeline", "other_pipeline")
    (tmp_path / "plain.py").write_text(text)
    with pytest.raises(SystemExit, match="--tta needs tta_pipeline"):
        run_tool("test", "plain.py", checkpoint, "--tta")


def test_a_checkpoint_that_lacks_weights_is_refused_unless_allowed(
    run_tool: Tool, tiny_config: Path, partial: Path, tmp_path: Path
) -> None:
    out, run = tmp_path / "out", tmp_path / "run"
    out.mkdir()
    (out / "shapes_seed1_000000.png").write_bytes(b"old")
    arguments = ("test", tiny_config, partial, "--out", out, "--work-dir", run)
    with pytest.raises(SystemExit) as error:
        run_tool(*arguments)
    message = error.value.code
    assert message.startswith("error: ")
    assert "\n" not in message
    assert str(partial) in message
    assert "decode_head.point_head.fc_seg.weight is missing" in message
    assert "--allow-partial" in message
    assert not list(run.glob("*/*.json"))
    assert names(out) == ["shapes_seed1_000000.png"]
    assert (out / "shapes_seed1_000000.png").read_bytes() == b"old"

    run_tool(*arguments, "--allow-partial")
    assert len(names(out)) == 2


def test_a_test_that_breaks_off_leaves_the_old_label_maps(
    run_tool: Tool,
    tiny_config: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "shapes_seed1_000000.png").write_bytes(b"old")
    dataset_type = DATASETS.get("ShapesDataset")
    read = dataset_type.__getitem__

    def spoiled(dataset: object, index: int) -> dict:
        item = read(dataset, index)
        if index == 1:
            item["data_samples"].gt_sem_seg.data[0, 0, 0] = 99
        return item

    monkeypatch.setattr(dataset_type, "__getitem__", spoiled)
    with pytest.raises(SystemExit, match="has the label 99"):
        run_tool("test", tiny_config, checkpoint, "--out", out)
    assert names(out) == ["shapes_seed1_000000.png"]
    assert (out / "shapes_seed1_000000.png").read_bytes() == b"old"


def test_leftovers_of_a_killed_test_are_no_results(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    leftovers = tmp_path / "out" / ".partial"
    leftovers.mkdir(parents=True)
    (leftovers / "another_image.png").write_bytes(b"half")
    run_tool("test", tiny_config, checkpoint, "--out", tmp_path / "out")
    results = [name for name in names(tmp_path / "out") if not name.startswith(".")]
    assert results == ["shapes_seed1_000000.png", "shapes_seed1_000001.png"]


def test_files_that_are_missing_are_named_in_one_line(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=r"^error: .*gone\.pth: no such checkpoint file\.$"):
        run_tool("test", tiny_config, tmp_path / "gone.pth")
    camvid = Path(__file__).parents[2] / "configs" / "pointrend_r18_camvid.py"
    with pytest.raises(SystemExit, match=r"^error: CamVidDataset: not found: .*data/camvid"):
        run_tool("test", camvid, checkpoint)


def test_another_type_and_layout(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    seen = []

    def note(module: torch.nn.Module, _: tuple, output: torch.Tensor) -> None:
        if isinstance(module, PointMLP):
            seen.append(output.dtype)

    with torch.nn.modules.module.register_module_forward_hook(note):
        for name, options in {"as is": (), "fast": ("--dtype", "bfloat16")}.items():
            run_tool("test", tiny_config, checkpoint, "--work-dir", tmp_path / name, *options)
    assert set(seen) == {torch.float32, torch.bfloat16}
    expected, actual = metrics(tmp_path / "as is"), metrics(tmp_path / "fast")
    assert actual["aAcc"] == pytest.approx(expected["aAcc"], abs=3)


@METRICS.register_module()
class ReadsLogits(BaseMetric):
    """A metric of a user that scores logits."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        self.results += [sample["seg_logits"]["data"].shape[0] for sample in data_samples]

    def compute_metrics(self, results: list) -> dict:
        return {"channels": float(np.mean(results))}


def test_metrics_of_logits_get_them(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    config = tmp_path / "logits.py"
    metrics_of = "test_evaluator = [dict(type='IoUMetric'), dict(type='ReadsLogits')]"
    config.write_text(f"_base_ = '{tiny_config}'\n{metrics_of}\n")
    run_tool("test", config, checkpoint, "--work-dir", tmp_path / "run")
    assert metrics(tmp_path / "run")["channels"] == 6


@pytest.mark.parametrize("option", ["--out", "--show-dir", "--work-dir"])
def test_a_file_in_the_place_of_a_folder_is_named(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(SystemExit, match=rf"file: nothing can be .* choose another {option}\."):
        run_tool("test", tiny_config, checkpoint, option, "file")
    assert (tmp_path / "file").read_text() == "kept"
