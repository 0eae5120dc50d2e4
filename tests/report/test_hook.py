import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import MODELS
from PIL import Image

from mmseg_pointrend.report.hook import ReportHook

Tool = Callable[..., None]


@pytest.fixture
def report(run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    run_tool("test", tiny_config, checkpoint, "--report", folder, "--work-dir", tmp_path / "run")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_test_with_a_report(
    report: Path, run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    assert names(report) == {"images", "index.html", "report.css", "report.js", "report.json"}
    kinds = ("photo.jpg", "labels0.png", "labels1.png", "truth.png", "errors0.png", "points.png")
    assert {f"{k:05d}-{kind}" for k in range(2) for kind in kinds} < names(report / "images")
    (log,) = (tmp_path / "run").glob("*/*.json")
    logged = json.loads(log.read_text())
    first = json.loads((report / "report.json").read_text())["scores"]
    assert first["iou"][-1] == pytest.approx(logged["mIoU"], abs=0.01)
    assert first["boundary"][-1] == pytest.approx(logged["mBIoU"], abs=0.01)
    # the run's config has nothing of it
    dumped = (tmp_path / "run" / tiny_config.name).read_text()
    assert "Report" not in dumped

    # again, with fewer images and compared with the same predictions
    out = tmp_path / "out"
    run_tool("test", tiny_config, checkpoint, "--out", out)
    options = ["--report", report, "--report-images", 1, "--against", out]
    run_tool("test", tiny_config, checkpoint, *options)
    second = json.loads((report / "report.json").read_text())
    assert second["names"] == ["Coarse head", "out", "PointRend"]
    assert second["scores"]["iou"][1] == second["scores"]["iou"][2] == first["iou"][1]
    assert len({name.partition("-")[0] for name in names(report / "images")}) == 1
    assert not [*tmp_path.glob(".*partial")]


def test_images_without_truth_of_many_classes_without_colors(
    run_tool: Tool, tiny_config: Path, tmp_path: Path, fresh_runs: None
) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    cfg = Config.fromfile(tiny_config)
    cfg.model.decode_head.num_classes = 150
    cfg.test_dataloader.dataset = dict(
        type="BaseSegDataset",
        data_root=str(tmp_path / "in"),
        img_suffix=".png",
        metainfo=dict(classes=[f"class {k}" for k in range(150)]),
        test_mode=True,
        pipeline=[dict(type="LoadImageFromFile"), dict(type="PackSegInputs")],
    )
    cfg.test_evaluator = dict(type="IoUMetric", format_only=True, output_dir=str(tmp_path / "out"))
    cfg.dump(tmp_path / "many.py")
    init_default_scope("mmseg")
    torch.save({"state_dict": MODELS.build(cfg.model).state_dict()}, tmp_path / "many.pth")
    run_tool("test", tmp_path / "many.py", tmp_path / "many.pth", "--report", tmp_path / "report")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["scores"] is None
    written = names(tmp_path / "report" / "images")
    assert written == {
        f"00000-{kind}"
        for kind in ("crop0.jpg", "labels0.png", "labels1.png", "photo.jpg", "points.png")
    }
    with Image.open(tmp_path / "report" / "images" / "00000-labels1.png") as labels:
        assert len(labels.convert("RGB").getcolors()) > 1


def test_folders_of_others_are_kept(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(ValueError, match="is not a report"):
        ReportHook(str(tmp_path))
    assert names(tmp_path) == {"photo.jpg"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--report-images", 0], "--report-images must be an integer >= 1, got 0"),
        (["--against", "nowhere"], r"shapes_seed1_000000.png: cannot be read as labels.*--out"),
        (["--against", "empty"], r"shapes_seed1_000000.png: cannot be read as labels"),
        (["--against", "small"], r"shape \(64, 64\).*got \(2, 2\)"),
        (["--tta"], "leave out --tta and --launcher"),
        (
            [
                "--cfg-options",
                "test_dataloader.dataset.indices=0",
                "test_dataloader.dataset.serialize_data=False",
            ],
            "the test set has none",
        ),
    ],
)
def test_bad_input(
    run_tool: Tool,
    tiny_config: Path,
    checkpoint: Path,
    tmp_path: Path,
    options: list,
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "small").mkdir()
    for k in range(2):
        labels = Image.fromarray(np.zeros((2, 2), dtype=np.uint8))
        labels.save(tmp_path / "small" / f"shapes_seed1_{k:06d}.png")
    with pytest.raises(SystemExit, match=message):
        run_tool("test", tiny_config, checkpoint, "--report", "report", *options)
    assert not (tmp_path / "report").exists()


def test_a_model_without_a_coarse_head_needs_predictions(
    run_tool: Tool, tiny_config: Path, tmp_path: Path
) -> None:
    config = tmp_path / "fpn.py"
    config.write_text(
        f'_base_ = "{tiny_config.as_posix()}"\n'
        "head = _base_.model.decode_head\n"
        "model = dict(decode_head=dict(_delete_=True, num_classes=6, **head.coarse_head))\n"
    )
    cfg = Config.fromfile(config)
    cfg.work_dir = str(tmp_path)
    model = Runner.from_cfg(cfg).model
    torch.save({"state_dict": model.state_dict()}, tmp_path / "fpn.pth")
    with pytest.raises(SystemExit, match=r"FPNHead has no coarse head.*--against"):
        run_tool("test", config, tmp_path / "fpn.pth", "--report", "report")
