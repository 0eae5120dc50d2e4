import signal
import subprocess
import sys
import time
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
    with pytest.raises(SystemExit, match=r"uncertainty must be .* got 'entropy'"):
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
    with pytest.raises(SystemExit, match=r"^error: gone\.p[nt][gh]\b.*[Nn]o such [^\n]*$"):
        run_tool("predict", tiny_config, weights, inputs, "--out", "out")


def test_a_broken_image_is_named_and_the_status_is_1(
    run_tool: Tool,
    tiny_config: Path,
    checkpoint: Path,
    photo: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (photo.parent / "broken.png").write_bytes(photo.read_bytes()[:100])
    with pytest.raises(SystemExit, match="1 of the images failed"):  # a message: status 1
        run_tool("predict", tiny_config, checkpoint, photo.parent, "--out", "out")
    assert "broken.png" in capfd.readouterr().err
    assert names(tmp_path / "out") == {"photo.png", "photo_overlay.jpg"}


# Runs tools/predict.py where imports of what exported models go without are refused.
BARE = """
import runpy, sys, types

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
# the package without its __init__, which is another matter
package = types.ModuleType("mmseg_pointrend")
package.__path__ = [{package!r}]
sys.modules["mmseg_pointrend"] = package
sys.argv = ["predict.py", *sys.argv[1:]]
runpy.run_path({tool!r}, run_name="__main__")
"""
REFUSED = {"torch", "mmseg", "mmengine", "mmcv", "matplotlib", "yaml", "scipy"}


def test_exported_models_need_no_torch(photo: Path, tmp_path: Path) -> None:
    package = str(TOOL.parents[1] / "mmseg_pointrend")
    script = BARE.format(refused=REFUSED, package=package, tool=str(TOOL))

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", script, *arguments, str(photo), "--out", "out"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return done.stderr

    assert run("gone.onnx").startswith("error: gone.onnx: no such")


def test_tiles_are_the_mask_of_the_whole_image_where_it_fits_one(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, photo: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyvips")
    tifffile = pytest.importorskip("tifffile")
    command = ("predict", tiny_config, checkpoint, photo)
    run_tool(*command, "--out", "whole")
    run_tool(*command, "--out", "one", "--tile", "64", "--overlap", "16")
    run_tool(*command, "--out", "more", "--tile", "32", "--overlap", "16")
    assert names(tmp_path / "one") == names(tmp_path / "more") == {"photo.tif"}
    with Image.open(tmp_path / "whole" / "photo.png") as mask:
        whole = np.asarray(mask)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "one" / "photo.tif"), whole)
    tiled = tifffile.imread(tmp_path / "more" / "photo.tif")
    assert tiled.shape == whole.shape
    assert tiled.max() < 6


def test_batches_types_and_layouts(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, photo: Path, tmp_path: Path
) -> None:
    (photo.parent / "again.png").write_bytes(photo.read_bytes())
    command = ("predict", tiny_config, checkpoint, photo.parent)
    run_tool(*command, "--out", "one")
    run_tool(*command, "--out", "two", "--batch-size", "2")
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()
    run_tool(*command, "--out", "half", "--dtype", "bfloat16", "--channels-last")
    assert names(tmp_path / "half") == names(tmp_path / "one")


def test_a_killed_prediction_leaves_no_broken_file(
    tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyvips")
    pytest.importorskip("tifffile")
    noise = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.jpg")
    tiles = ("--out", "out", "--tile", "80", "--overlap", "64", "--device", "cpu")
    command = [sys.executable, TOOL, tiny_config, checkpoint, "large.jpg", *tiles]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        # 35 344 windows take longer than it takes to see the first
        while process.poll() is None and not list(tmp_path.glob("out/*.partial")):
            time.sleep(0.05)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("out/large.tif"))
