"""What train, test, convert and retrofit make of bad input: one line each, and never a traceback.

docs/bad-input.md has the table for users.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]

Tool = Callable[..., None]

SETTINGS = {
    "train_dataloader.batch_size=x": r"batch_size has to be a whole number .* not 'x'",
    "train_dataloader.batch_size=0": r"batch_size has to be a whole number of at least 1, not 0",
    "train_dataloader.num_workers=-1": r"num_workers .* at least 0, not -1",
    "model.decode_head.num_classes=0": r"num_classes .* at least 1, not 0",
    "model.decode_head.num_classes=-1": r"num_classes .* at least 1, not -1",
    "model.decode_head.num_classes=a": r"num_classes .* not 'a'",
    "model.decode_head.num_classes=True": r"num_classes .* not True",
    "train_cfg.max_iters=0": r"max_iters .* not 0",
    "train_cfg.max_iters=-5": r"max_iters .* not -5",
    "train_cfg.max_iters=2.5": r"max_iters .* not 2\.5",
    "train_cfg.val_interval=0": r"val_interval .* not 0",
    "default_hooks.checkpoint.interval=often": r"checkpoint\.interval .* not 'often'",
    "optim_wrapper.optimizer.lr=-1": r"optimizer\.lr has to be a number of at least 0, not -1",
    "optim_wrapper.optimizer.lr=fast": r"optimizer\.lr .* not 'fast'",
    "optim_wrapper.optimizer.lr=nan": r"optimizer\.lr .* not nan",
    "train_cfg.max_iters=inf": r"train_cfg\.max_iters has to be a whole number",
    "optim_wrapper.optimizer.betas=3": r"AdamW cannot be built from the config",
    "optim_wrapper=5": r"needs a dict optim_wrapper, to train; it has 5",
    "model=None": r"needs a dict model, to train; it has None",
    "load_from=5": r"load_from has to name a checkpoint, not 5",
    "load_from=gone.pth": r"gone\.pth: no such checkpoint file",
    "model.decode_head.point_sampler.num_points=0": r"num_points must be .* got 0",
    "model.decode_head.point_sampler.num_points=x": r"num_points must be an integer .* got 'x'",
    "model.decode_head.point_sampler.num_points=1e3": r"num_points must be .* got 1000\.0",
    "model.decode_head.renderer.min_margin=low": r"min_margin must be a number .* got 'low'",
    "model.test_cfg.mode=slied": r"mode is 'whole' or 'slide', not 'slied'",
    "model.test_cfg.mode=slide": r"needs crop_size=\(height, width\) and a stride",
    "trian_cfg.max_iters=1": r"has no trian_cfg, .* Did you mean train_cfg\?",
    "nonsense=1": r"has no nonsense, .* It would do nothing",
    "model.decode_head.point_sampler.oversample_ratio=0.5": r"oversample_ratio must be .* got 0\.5",
    "model.decode_head.renderer.subdivision_num_points=0": r"num_points must be .* got 0",
    "model.decode_head.in_index=9": r"level 9: the backbone .* gives 4 levels",
    # what is surely a typo
    "model.decode_head.num_clases=5": r"PointRendHead .*unexpected keyword .*'num_clases'",
    "model.decode_head.renderer.step=5": r"DenseRenderer .*unexpected keyword .*'step'",
    "train_cfg.max_iter=5": r"unexpected keyword argument 'max_iter'",
    "model.decode_head.coarse_head.type=FPNHed": r"FPNHed is not in the mmseg::model registry",
    "custom_hooks.0.type=NoHook": r"NoHook is not in the mmseg::hook registry",
    "train_dataloader.dataset.pipeline.0.type=Load": r"Load is not in the mmseg::transform reg",
    "train_dataloader.dataset.pipeline.99.type=Load": r"cannot take the overrides",
}

CONFIGS = {
    "folder.py": None,
    "gone.py": None,
    "binary.py": bytes(range(256)),
    "nul.py": b"a = 1\0",
    "image.jpg": b"\xff\xd8\xff",
    "syntax.py": b"model = dict(\n",
    "cycle.py": b"_base_ = 'cycle.py'\n",
    "orphan.py": b"_base_ = 'gone.py'\n",
    "empty.py": b"",
    "raises.py": b"raise SystemError('two\\nlines')\n",
}

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
    batch_size=2, num_workers={workers}, persistent_workers=False, dataset=dict(data_root="data")
)
val_dataloader = dict(
    num_workers={workers}, persistent_workers=False, dataset=dict(data_root="data")
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


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings(run_tool: Tool, tiny_config: Path, tmp_path: Path, setting: str) -> None:
    with pytest.raises(SystemExit, match=SETTINGS[setting]) as error:
        run_tool("train", tiny_config, "--work-dir", tmp_path / "run", "--cfg-options", setting)
    line(error)
    assert not [*tmp_path.glob("run/*.pth")]


@pytest.mark.parametrize("option", ["no_equals_sign", "model=dict(type='A',neck='B')"])
def test_options_that_are_none(
    run_tool: Tool, tiny_config: Path, capsys: pytest.CaptureFixture, option: str
) -> None:
    with pytest.raises(SystemExit) as error:
        run_tool("train", tiny_config, "--cfg-options", option)
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert f"{option}: expected KEY=VALUE" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", CONFIGS)
def test_configs(run_tool: Tool, tmp_path: Path, name: str) -> None:
    if name == "folder.py":
        (tmp_path / name).mkdir()
    elif CONFIGS[name] is not None:
        (tmp_path / name).write_bytes(CONFIGS[name])
    with pytest.raises(SystemExit, match="config") as error:
        run_tool("train", name)
    line(error)
    assert not (tmp_path / "work_dirs").exists()


def test_configs_of_something_else(run_tool: Tool, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(SystemExit, match="needs a dict model, to test; it has None") as error:
        run_tool("test", "empty.py", checkpoint)
    line(error)
    with pytest.raises(SystemExit, match=r"empty\.py has no model of type EncoderDecoder") as error:
        run_tool("retrofit", "empty.py", checkpoint, "--out", "new.py")
    line(error)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/run"])
def test_work_dirs(run_tool: Tool, tiny_config: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SystemExit, match=f"{place}: nothing can be written there") as error:
        run_tool("train", tiny_config, "--work-dir", place)
    line(error)


@pytest.mark.parametrize("command", [("train", "--resume"), ("test",), ("convert_checkpoint",)])
@pytest.mark.parametrize("content", [None, b"", b"text", b"<html>", "folder", "half"])
def test_checkpoints(
    run_tool: Tool,
    tiny_config: Path,
    checkpoint: Path,
    tmp_path: Path,
    command: tuple[str, ...],
    content: bytes | str | None,
) -> None:
    path = tmp_path / "bad.pth"
    if content == "folder":
        path.mkdir()
    elif content == "half":
        whole = checkpoint.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content is not None:
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


def empty_folder(root: Path, split: str) -> None:
    for path in (root / "images" / split).iterdir():
        path.unlink()


def missing_label(root: Path, split: str) -> None:
    (root / "annotations" / split / "0.png").unlink()


def broken_label(root: Path, split: str) -> None:
    (root / "annotations" / split / "0.png").write_bytes(b"half")


def label_of_another_size(root: Path, split: str) -> None:
    Image.new("L", (50, 60)).save(root / "annotations" / split / "0.png")


def color_label(root: Path, split: str) -> None:
    Image.new("RGB", (96, 64)).save(root / "annotations" / split / "0.png")


def label_of_16_bits(root: Path, split: str) -> None:
    labels = np.full((64, 96), 258, dtype=np.uint16)  # whose lower eight bits are a class
    Image.fromarray(labels).save(root / "annotations" / split / "0.png")


def label_of_no_class(root: Path, split: str) -> None:
    Image.new("L", (96, 64), 77).save(root / "annotations" / split / "0.png")


def broken_image(root: Path, split: str) -> None:
    (root / "images" / split / "0.jpg").write_bytes(b"\xff\xd8 half")


def empty_image(root: Path, split: str) -> None:
    (root / "images" / split / "0.jpg").write_bytes(b"")


DATA = {
    empty_folder: r"no image .*images",
    missing_label: r"annotations.*0\.png",
    broken_label: r"0\.png cannot be read as a label map",
    label_of_another_size: r"0\.png has 60x50 pixels .* its image .*0\.jpg has 64x96",
    color_label: r"0\.png is a color image",
    label_of_16_bits: r"0\.png has the label 258; labels are 8-bit",
    label_of_no_class: r"0\.png has the label 77",
    broken_image: r"0\.jpg cannot be read as an image",
    empty_image: r"0\.jpg cannot be read as an image",
}


def write_data(root: Path, workers: int) -> None:
    """A data set of one image a split, and camvid.py, which trains on it."""
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for kind, suffix in (("images", "jpg"), ("annotations", "png")):
            path = root / "data" / kind / part / f"0.{suffix}"
            path.parent.mkdir(parents=True)
            size = (64, 96, 3) if kind == "images" else (64, 96)
            Image.fromarray(rng.integers(0, 11, size, dtype=np.uint8)).save(path)
    (root / "camvid.py").write_text(CAMVID.format(root=ROOT.as_posix(), workers=workers))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("spoil", DATA, ids=lambda spoil: spoil.__name__)
def test_data(
    run_tool: Tool, tmp_path: Path, spoil: Callable[[Path, str], None], split: str
) -> None:
    write_data(tmp_path, workers=0)
    spoil(tmp_path / "data", split)
    with pytest.raises(SystemExit, match=DATA[spoil]) as error:
        run_tool("train", "camvid.py", "--work-dir", "run")
    line(error)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.decode_head.num_classes=5", "The head has 5 classes, CamVidDataset has 11"),
        ("optim_wrapper.optimizer.lr=1e30", "Loss is not finite at iteration 2"),
    ],
)
def test_configs_that_know_nothing_of_our_checks_have_them(
    run_tool: Tool, tmp_path: Path, option: str, message: str
) -> None:
    write_data(tmp_path, workers=0)
    with (tmp_path / "camvid.py").open("a") as file:
        file.write("custom_hooks = []\n")
    options = ("--cfg-options", option, "train_cfg.max_iters=2")
    with pytest.raises(SystemExit, match=message):
        run_tool("train", "camvid.py", "--work-dir", "run", *options)


def test_data_that_workers_read(run_tool: Tool, tmp_path: Path) -> None:
    write_data(tmp_path, workers=1)
    broken_image(tmp_path / "data", "train")
    with pytest.raises(SystemExit, match=r"^error: [^:]*0\.jpg cannot be read as an im") as error:
        run_tool("train", "camvid.py", "--work-dir", "run")
    assert "Traceback" not in line(error)
