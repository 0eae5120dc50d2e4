"""tools/convert_checkpoint.py."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_pointrend.checkpoints.fitting import load_weights, read_checkpoint

RunTool = Callable[..., None]
NAMES = ["backbone.conv1.weight", "decode_head.0.conv_seg.weight", "decode_head.1.fc_seg.weight"]


def save(path: Path, names: list[str], **other: object) -> Path:
    torch.save(dict(state_dict={name: torch.ones(2) for name in names}, **other), path)
    return path


def written(folder: Path) -> Path:
    (path,) = folder.glob("*")
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
def test_writes_our_layout_and_keeps_the_meta(
    tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture, prefix: str
) -> None:
    meta = dict(CLASSES=["a", "b"], PALETTE=[[0, 0, 0], [1, 1, 1]])
    names = [prefix + name for name in NAMES]
    source = save(tmp_path / "in.pth", names, meta=meta, optimizer=dict(state={}), message_hub={})
    run_tool("convert_checkpoint", source, tmp_path / "out" / "pointrend.pth")
    path = written(tmp_path / "out")
    assert capsys.readouterr().out.strip() == str(path)
    assert path.name == f"pointrend-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    content = read_checkpoint(path)
    assert content.keys() == {"meta", "state_dict"}
    assert content["meta"] == meta
    assert [*content["state_dict"]] == [
        "backbone.conv1.weight",
        "decode_head.coarse_head.conv_seg.weight",
        "decode_head.point_head.fc_seg.weight",
    ]


def test_the_name_follows_from_the_content(tmp_path: Path, run_tool: RunTool) -> None:
    source = save(tmp_path / "in.pth", NAMES)
    for _ in range(2):
        run_tool("convert_checkpoint", source, tmp_path / "out" / "x")
    assert written(tmp_path / "out").suffix == ".pth"


def test_what_we_trained_can_be_loaded_again(
    tmp_path: Path, run_tool: RunTool, checkpoint: Path, tiny_config: Path
) -> None:
    run_tool("convert_checkpoint", checkpoint, tmp_path / "out" / "x.pth")
    path = written(tmp_path / "out")
    assert path.stat().st_size < checkpoint.stat().st_size
    model = MODELS.build(Config.fromfile(tiny_config).model)
    assert len(load_weights(model, path)["dataset_meta"]["classes"]) == 6
    expected = read_checkpoint(checkpoint)["state_dict"]
    torch.testing.assert_close(dict(model.state_dict()), dict(expected), rtol=0, atol=0)


def test_a_coarse_model_is_converted_with_a_word_of_warning(
    tmp_path: Path, run_tool: RunTool, capsys: pytest.CaptureFixture
) -> None:
    source = save(tmp_path / "in.pth", ["backbone.x", "decode_head.conv_seg.weight"])
    run_tool("convert_checkpoint", source, tmp_path / "out" / "x.pth")
    weights = read_checkpoint(written(tmp_path / "out"))["state_dict"]
    assert "decode_head.coarse_head.conv_seg.weight" in weights
    assert "no point head" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"<html>", b"PK\x03\x04", None])
def test_bad_input_leaves_nothing(tmp_path: Path, run_tool: RunTool, content: bytes | None) -> None:
    source = tmp_path / "in.pth"
    if content is None:
        save(source, ["conv1.weight", "fc.bias"])
    else:
        source.write_bytes(content)
    with pytest.raises(SystemExit, match=r"^error: .*in\.pth"):
        run_tool("convert_checkpoint", source, tmp_path / "out" / "x.pth")
    assert not (tmp_path / "out").exists()


def test_a_target_that_cannot_be_written(tmp_path: Path, run_tool: RunTool) -> None:
    (tmp_path / "file").touch()
    source = save(tmp_path / "in.pth", NAMES)
    with pytest.raises(SystemExit, match="cannot be written"):
        run_tool("convert_checkpoint", source, tmp_path / "file" / "x.pth")
