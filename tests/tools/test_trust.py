"""Whatever reads checkpoints refuses those that would run code."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from malice import KINDS, spoil
from mmengine.config import Config

from mmseg_pointrend.checkpoints.fitting import load_weights, read_checkpoint
from mmseg_pointrend.engine.retrofit import write_recipe

Tool = Callable[..., None]

CONFIG, BAD = "CONFIG", "BAD"
COMMANDS = {
    "load_from": ("train", CONFIG, "--cfg-options", f"load_from={BAD}"),
    "resume": ("train", CONFIG, "--resume", BAD),
    "init_cfg": ("train", "backbone.py"),
    "test": ("test", CONFIG, BAD, "--out", "out"),
    "convert": ("convert_checkpoint", BAD, "out.pth"),
    "retrofit": ("retrofit", "coarse.py", BAD, "--out", "new.py"),
    "predict": ("predict", CONFIG, BAD, "image.png", "--out", "out"),
    "export": ("export", CONFIG, BAD, "--out", "out.onnx"),
}


INIT_CFG = """
_base_ = "{config}"
init_cfg = dict(type="Pretrained", checkpoint="{bad}", _delete_=True)
model = dict(backbone=dict(init_cfg=init_cfg))
"""


@pytest.fixture(autouse=True)
def _configs(tiny_config: Path, tmp_path: Path) -> None:
    """Configs of a coarse model, and of a model whose backbone starts from bad.pth."""
    coarse = Config.fromfile(tiny_config)
    coarse.model.decode_head = dict(coarse.model.decode_head.coarse_head, num_classes=6)
    coarse.dump(tmp_path / "coarse.py")
    text = INIT_CFG.format(config=tiny_config, bad=tmp_path / "bad.pth")
    (tmp_path / "backbone.py").write_text(text)


def arguments(command: str, config: Path, bad: Path) -> list[str]:
    return [x.replace(CONFIG, str(config)).replace(BAD, str(bad)) for x in COMMANDS[command]]


def refusal(error: pytest.ExceptionInfo[SystemExit]) -> str:
    """What a tool exits with: a message, that is status 1, of one line."""
    message = error.value.code
    assert isinstance(message, str)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_code(
    run_tool: Tool,
    tiny_config: Path,
    checkpoint: Path,
    image: np.ndarray,
    tmp_path: Path,
    command: str,
) -> None:
    target = tmp_path / "touched"
    bad = spoil(checkpoint, tmp_path / "bad.pth", target, "nested")
    cv2.imwrite(str(tmp_path / "image.png"), image)
    with pytest.raises(SystemExit) as error:
        run_tool(*arguments(command, tiny_config, bad))
    message = refusal(error)
    assert "bad.pth is refused: reading it would run" in message
    assert "mkdir" in message
    assert "--trust-checkpoint" in message
    assert not target.exists()


def test_resuming_runs_no_config_that_a_checkpoint_carries(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    content = torch.load(checkpoint, weights_only=False)
    content["meta"]["config"] = "import os\nos.mkdir('touched')\n"
    torch.save(content, tmp_path / "bad.pth")
    option = "train_cfg.max_iters=3"
    run_tool("train", tiny_config, "--resume", tmp_path / "bad.pth", "--cfg-options", option)
    assert (tmp_path / "work_dirs" / "tiny" / "iter_3.pth").is_file()
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_functions_refuse_code(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "touched"
    bad = spoil(checkpoint, tmp_path / "bad.pth", target, kind)
    # torch.load reads no plain pickle, whoever made it
    expected = "is not a whole checkpoint" if kind == "pickle" else "is refused"
    for call in (
        lambda: read_checkpoint(bad),
        lambda: load_weights(torch.nn.Linear(1, 1), bad),
        lambda: write_recipe(tmp_path / "coarse.py", bad, tmp_path / "new.py"),
    ):
        with pytest.raises(ValueError, match=expected):
            call()
        assert not target.exists()


@pytest.mark.parametrize("command", ["load_from", "convert"])
def test_trust_has_to_be_asked_for(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path, command: str
) -> None:
    bad = tmp_path / "bad.pth"
    content = torch.load(checkpoint, weights_only=False)
    torch.save({**content, "extra": Path("harmless")}, bad)
    name, *rest = arguments(command, tiny_config, bad)
    with pytest.raises(SystemExit, match="is refused: reading it would run pathlib"):
        run_tool(name, *rest)
    run_tool(name, "--trust-checkpoint", *rest)
