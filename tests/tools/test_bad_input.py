"""What the tools make of bad input: one line, as a user sees it, for each kind. The tests of the
modules have the rest."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]

Tool = Callable[..., None]

CAMVID = """
_base_ = "{root}/configs/pointrend_r18_camvid.py"
model = dict(
    backbone=dict(base_channels=4, stem_channels=8),
    neck=dict(in_channels=[4, 8, 16, 32], out_channels=8),
    decode_head=dict(
        coarse_head=dict(in_channels=[8, 8, 8, 8], channels=8), in_channels=8, channels=8
    ),
)
train_dataloader = dict(
    batch_size=2, num_workers=1, persistent_workers=False, dataset=dict(data_root="data")
)
val_dataloader = dict(
    num_workers=1, persistent_workers=False, dataset=dict(data_root="data")
)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=1, val_interval=1)
"""


def line(error: pytest.ExceptionInfo[SystemExit]) -> str:
    """What a tool exits with: a message, that is status 1, of one line."""
    message = error.value.code
    assert isinstance(message, str)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("tool", ["train", "test", "retrofit"])
def test_configs(run_tool: Tool, tmp_path: Path, checkpoint: Path, tool: str) -> None:
    (tmp_path / "syntax.py").write_text("model = dict(\n")
    arguments = dict(train=(), test=(checkpoint,), retrofit=(checkpoint, "--out", "new.py"))
    with pytest.raises(SystemExit, match=r"syntax\.py is not a valid config: .*closed") as error:
        run_tool(tool, "syntax.py", *arguments[tool])
    line(error)
    assert not (tmp_path / "work_dirs").exists()


def test_settings(run_tool: Tool, tiny_config: Path) -> None:
    with pytest.raises(SystemExit, match="unexpected keyword argument 'num_clases'") as error:
        run_tool("train", tiny_config, "--cfg-options", "model.decode_head.num_clases=5")
    line(error)


@pytest.mark.parametrize("command", [("train", "--resume"), ("test",), ("convert_checkpoint",)])
@pytest.mark.parametrize("content", [None, b"<html>"])
def test_checkpoints(
    run_tool: Tool,
    tiny_config: Path,
    tmp_path: Path,
    command: tuple[str, ...],
    content: bytes | None,
) -> None:
    path = tmp_path / "bad.pth"
    if content is not None:
        path.write_bytes(content)
    name, *option = command
    arguments = [path, "out.pth"] if name == "convert_checkpoint" else [tiny_config, *option, path]
    with pytest.raises(SystemExit, match=r"bad\.pth") as error:
        run_tool(name, *arguments)
    assert "checkpoint" in line(error)
    assert not [*tmp_path.glob("out*")]


def test_conversion_to_where_nothing_can_be_written(
    run_tool: Tool, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SystemExit, match=r"cannot be written") as error:
        run_tool("convert_checkpoint", checkpoint, "file/out.pth")
    line(error)


def test_a_work_dir_where_nothing_can_be_written(
    run_tool: Tool, tiny_config: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SystemExit, match=r"Not a directory: .*file/run") as error:
        run_tool("train", tiny_config, "--work-dir", "file/run")
    line(error)


def write_data(root: Path) -> None:
    """A data set of one image a split, and camvid.py, which trains on it."""
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for kind, suffix in (("images", "jpg"), ("annotations", "png")):
            path = root / "data" / kind / part / f"0.{suffix}"
            path.parent.mkdir(parents=True)
            size = (64, 96, 3) if kind == "images" else (64, 96)
            Image.fromarray(rng.integers(0, 11, size, dtype=np.uint8)).save(path)
    (root / "camvid.py").write_text(CAMVID.format(root=ROOT.as_posix()))


def test_data_that_workers_read(run_tool: Tool, tmp_path: Path) -> None:
    write_data(tmp_path)
    (tmp_path / "data" / "images" / "train" / "0.jpg").write_bytes(b"\xff\xd8 half")
    with pytest.raises(SystemExit, match=r"^error: [^:]*0\.jpg cannot be read as an im") as error:
        run_tool("train", "camvid.py", "--work-dir", "run")
    assert "Traceback" not in line(error)


def test_an_empty_folder(run_tool: Tool, tmp_path: Path) -> None:
    write_data(tmp_path)
    (tmp_path / "data" / "images" / "val" / "0.jpg").unlink()
    with pytest.raises(SystemExit, match=r"no image .*images") as error:
        run_tool("train", "camvid.py", "--work-dir", "run")
    line(error)
