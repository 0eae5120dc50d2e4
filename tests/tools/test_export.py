"""tools/export.py."""

import runpy
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from exporting import CLASSES, save_weights, small_config

from mmseg_pointrend.inference.onnx_model import OnnxModel

TOOL = Path(__file__).parents[2] / "tools" / "export.py"
RunTool = Callable[..., None]


@pytest.fixture
def recipe(tmp_path: Path) -> tuple[Path, Path]:
    """A config file and a checkpoint."""
    cfg = small_config()
    config = tmp_path / "recipe.py"
    cfg.dump(config)
    return config, save_weights(cfg, tmp_path / "weights.pth")


def test_exports_and_verifies(
    tmp_path: Path,
    run_tool: RunTool,
    recipe: tuple[Path, Path],
    image: np.ndarray,
    capsys: pytest.CaptureFixture,
) -> None:
    cv2.imwrite(str(tmp_path / "image.png"), image)
    run_tool(
        "export",
        *recipe,
        *("--out", tmp_path / "new" / "model.onnx", "--logits", "--size", 41, 53),
        *("--verify", tmp_path / "image.png"),
        *("--cfg-options", "model.decode_head.renderer.type=DenseRenderer"),
    )
    assert "100.0000%" in capsys.readouterr().out
    model = OnnxModel(tmp_path / "new" / "model.onnx")
    assert model.classes == CLASSES
    assert model.segment_batch([model.load(image)], logits=True)[0].labels.shape == image.shape[:2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.py", "weights.pth", "--out", "x.onnx"], "none.py: no such config file"),
        (["recipe.py", "none.pth", "--out", "x.onnx"], "none.pth cannot be read as a checkpoint"),
        (["recipe.py", "recipe.py", "--out", "x.onnx"], "is not a whole checkpoint"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    run_tool: RunTool,
    recipe: tuple[Path, Path],
    arguments: list[str],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as end:
        run_tool("export", *arguments)
    assert message in str(end.value)
    assert "\n" not in str(end.value)
    assert not (tmp_path / "x.onnx").exists()


def test_a_block_that_does_not_end_is_ended() -> None:
    def swallow_errors_for_ever() -> None:
        while True:
            with suppress(Exception):  # as PyTorch does
                time.sleep(60)

    exit_after = runpy.run_path(TOOL)["exit_after"]
    with pytest.raises(SystemExit, match="error: too long"), exit_after(1, "too long"):
        swallow_errors_for_ever()
    with exit_after(1, "too long"), exit_after(None, "no limit"):
        pass
