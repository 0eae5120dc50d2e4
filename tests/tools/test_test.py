import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_pointrend.inference.images import read_image
from mmseg_pointrend.inference.inferencer import PointRendInferencer

Tool = Callable[..., None]


def test_scores_writes_and_paints(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out, shown, run = tmp_path / "out", tmp_path / "shown", tmp_path / "run"
    out.mkdir()
    (out / "shapes_seed1_000000.png").write_bytes(b"old")
    (out / "other.txt").write_text("kept")
    run_tool("test", tiny_config, checkpoint, "--out", out, "--show-dir", shown, "--work-dir", run)
    masks = ["shapes_seed1_000000.png", "shapes_seed1_000001.png"]
    assert sorted(path.name for path in out.iterdir()) == ["other.txt", *masks]
    cfg = Config.fromfile(tiny_config)
    inferencer = PointRendInferencer(cfg, checkpoint, device="cpu")
    right, total = 0, 0
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    for name, item in zip(masks, dataset, strict=True):
        with Image.open(out / name) as mask:
            labels = np.asarray(mask)
        image = item["inputs"].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(labels, inferencer.segment(image))
        right += (labels == item["data_samples"].gt_sem_seg.data[0].numpy()).sum()
        total += labels.size
    (log,) = run.glob("*/*.json")
    assert json.loads(log.read_text())["aAcc"] == pytest.approx(100 * right / total, abs=0.01)
    painted = sorted(shown.rglob("*.png"))
    assert len(painted) == 2  # prediction and truth side by side
    assert all(read_image(path).shape[0] == 64 for path in painted)

    (text,) = [path.read_text() for path in run.glob("*/*.log")]
    said = "Predicting labels only, with LabelEncoderDecoder in place of EncoderDecoder"
    assert text.count(said) == 1
    # the config in the work dir can be used again, also by MMSegmentation's own tools
    dumped = Config.fromfile(run / tiny_config.name)
    assert dumped.test_evaluator == cfg.test_evaluator
    assert dumped.custom_imports.imports == ["mmseg_pointrend"]


def test_missing_data_are_named_in_one_line(
    run_tool: Tool, checkpoint: Path, tmp_path: Path
) -> None:
    camvid = Path(__file__).parents[2] / "configs" / "pointrend_r18_camvid.py"
    with pytest.raises(SystemExit, match=r"^error: CamVidDataset finds no files .*data/camvid"):
        run_tool("test", camvid, checkpoint)
