import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOL = Path(__file__).parents[2] / "tools" / "predict.py"

Tool = Callable[..., None]


@pytest.fixture
def photo(tmp_path: Path, image: np.ndarray) -> Path:
    path = tmp_path / "in" / "photo.png"
    path.parent.mkdir()
    Image.fromarray(image[..., ::-1]).save(path)
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_writes_masks_and_overlays_and_on_demand_points(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, photo: Path, tmp_path: Path
) -> None:
    run_tool("predict", tiny_config, checkpoint, photo, "--out", tmp_path / "out")
    assert names(tmp_path / "out") == {"photo.png", "photo_overlay.jpg"}
    with Image.open(tmp_path / "out" / "photo.png") as mask:
        assert mask.mode == "P"
        assert mask.size == (53, 41)
        assert np.asarray(mask).max() < 6
    run_tool("predict", tiny_config, checkpoint, photo.parent, "--out", "more", "--show-points")
    assert names(tmp_path / "more") == {"photo.png", "photo_overlay.jpg", "photo_points.png"}


def test_options_reach_the_model(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, photo: Path
) -> None:
    option = "model.decode_head.renderer.uncertainty=entropy"
    with pytest.raises(SystemExit, match="uncertainty='entropy'"):
        run_tool("predict", tiny_config, checkpoint, photo, "--out", "out", "--cfg-options", option)


def test_a_checkpoint_that_lacks_weights_is_refused_unless_allowed(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, photo: Path, tmp_path: Path
) -> None:
    wider = ("--cfg-options", "model.decode_head.channels=12")
    arguments = ("predict", tiny_config, checkpoint, photo, "--out", tmp_path / "out", *wider)
    with pytest.raises(SystemExit) as error:
        run_tool(*arguments)
    message = error.value.code
    assert message.startswith("error: ")
    assert "\n" not in message
    assert "decode_head.point_head.fcs.0.conv.weight is 8x14x1, the model has 12x14x1" in message
    assert "--allow-partial" in message
    assert not (tmp_path / "out").exists()
    run_tool(*arguments, "--allow-partial")
    assert names(tmp_path / "out") == {"photo.png", "photo_overlay.jpg"}


@pytest.mark.parametrize("missing", ["photo", "checkpoint"])
def test_files_that_are_missing_are_named_in_one_line(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, photo: Path, missing: str
) -> None:
    inputs = "gone.png" if missing == "photo" else photo
    weights = "gone.pth" if missing == "checkpoint" else checkpoint
    with pytest.raises(SystemExit, match=r"^error: gone\.p[nt][gh]: no such [^\n]*$"):
        run_tool("predict", tiny_config, weights, inputs, "--out", "out")


def test_a_broken_image_is_named_and_the_status_is_1(
    tiny_config: Path, checkpoint: Path, photo: Path, tmp_path: Path
) -> None:
    (photo.parent / "broken.png").write_bytes(photo.read_bytes()[:100])
    command = [sys.executable, TOOL, tiny_config, checkpoint, photo.parent, "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "broken.png" in done.stderr
    assert "1 of the images failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert names(tmp_path / "out") == {"photo.png", "photo_overlay.jpg"}
