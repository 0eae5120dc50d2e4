"""What ``tools/predict.py`` makes of images, paths and arguments that nobody checked.

A mask of the image's own size, or one line that names what is wrong; never a traceback.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from PIL import Image

Tool = Callable[..., None]
RNG = np.random.default_rng(0)
PHOTO = cv2.resize(RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8), (53, 41))


def saved(path: Path, mode: str = "RGB", **settings: object) -> None:
    Image.fromarray(PHOTO[..., ::-1]).convert(mode).save(path, **settings)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    saved(path, exif=exif)


def cut(path: Path, share: float = 0.8) -> None:
    saved(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def raw(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def unreadable(path: Path) -> None:
    # a link to itself reads as badly for root as for anyone
    path.symlink_to(path)


class Case(NamedTuple):
    """An image and what it gets: the (height, width) of its mask, or a part of the message."""

    name: str
    make: Callable[[Path], object]
    gets: tuple[int, int] | str


SIZE = PHOTO.shape[:2]
IMAGES = [
    Case("color.png", saved, SIZE),
    Case("gray.png", lambda p: saved(p, "L"), SIZE),
    Case("gray_alpha.png", lambda p: saved(p, "LA"), SIZE),
    Case("alpha.png", lambda p: saved(p, "RGBA"), SIZE),
    Case("palette.png", lambda p: saved(p, "P"), SIZE),
    Case("bits.png", lambda p: saved(p, "1"), SIZE),
    Case("cmyk.jpg", lambda p: saved(p, "CMYK"), SIZE),
    Case("progressive.jpg", lambda p: saved(p, progressive=True), SIZE),
    Case("turned.jpg", turned, SIZE[::-1]),
    Case("turned.png", turned, SIZE[::-1]),
    Case("deep.png", lambda p: raw(p, PHOTO.astype(np.uint16) * 257), SIZE),
    Case("deep.tif", lambda p: raw(p, PHOTO.astype(np.uint16) * 257), SIZE),
    Case("dark.png", lambda p: raw(p, PHOTO.astype(np.uint16) * 16), "are nearly black"),
    Case("float.tif", lambda p: saved(p, "F"), "float.tif"),
    Case("dot.png", lambda p: raw(p, PHOTO[:1, :1]), (1, 1)),
    Case("row.png", lambda p: raw(p, np.tile(PHOTO[:1], (1, 378, 1))[:, :20000]), (1, 20000)),
    Case("column.png", lambda p: raw(p, np.tile(PHOTO[:, :1], (488, 1, 1))[:20000]), (20000, 1)),
    Case("empty.png", Path.touch, "the file is empty"),
    Case("text.jpg", lambda p: p.write_text("no image"), "text.jpg"),
    Case("page.png", lambda p: p.write_text("<html>404</html>"), "page.png"),
    Case("cut.png", cut, "cut.png"),
    Case("cut.jpg", cut, "truncated"),
    Case("cut.tif", cut, "cut.tif"),
    Case("cut.webp", cut, "cut.webp"),
    Case("end.jpg", lambda p: cut(p, 0.999), "truncated"),
    Case("wrong_suffix.png", lambda p: saved(p, format="JPEG"), SIZE),
    Case("no_suffix", lambda p: saved(p, format="PNG"), SIZE),
    Case("with space.png", saved, SIZE),
    Case("ünï 名.png", saved, SIZE),
    Case("a[1]*.png", saved, SIZE),
    Case("-o.png", saved, SIZE),
    Case("line\nbreak.png", saved, SIZE),
    Case("bytes\udcff.png", saved, SIZE),
    Case(
        "broken\nline\x1b[31m.png",
        Path.touch,
        r"line\x1b[31m.png cannot be read as an image (the file is empty",
    ),
    Case("x" * 250 + ".png", saved, "name too long"),
    Case("loop.png", unreadable, "no such image"),
    Case("folder.png", Path.mkdir, "no such image"),
    Case("gone.png", lambda p: None, "no such image"),
]


def the_line(
    exit_status: pytest.ExceptionInfo[SystemExit],
    capfd: pytest.CaptureFixture[str],
    message: str,
) -> str:
    """The only line of what a tool says before it exits that has a message in it."""
    lines = [*capfd.readouterr().err.splitlines(), *str(exit_status.value.code).splitlines()]
    assert not any("Traceback" in line for line in lines)
    (line,) = [line for line in lines if message in line]
    return line


@pytest.mark.parametrize("case", IMAGES, ids=lambda case: ascii(case.name[:24]))
def test_an_image_gets_a_mask_of_its_size_or_one_line(
    case: Case,
    run_tool: Tool,
    tiny_config: Path,
    checkpoint: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "in" / case.name
    path.parent.mkdir()
    case.make(path)
    command = ("predict", tiny_config, checkpoint, path, "--out", "out", "--device", "cpu")
    if not isinstance(case.gets, str):
        run_tool(*command)
        (mask,) = (tmp_path / "out").glob("*.png")
        with Image.open(mask) as labels:
            assert labels.size == case.gets[::-1]
        return
    with pytest.raises(SystemExit) as exit_status:
        run_tool(*command)
    line = the_line(exit_status, capfd, case.gets)
    assert ascii(case.name).strip("'")[:24] in line or case.name[:24] in line
    # nothing is left of what failed
    assert not [*(tmp_path / "out").glob("*")] or case.name.startswith("x")


ARGUMENTS = [
    ("photo.png", "--batch-size 0", ">= 1, got 0"),
    ("photo.png", "--batch-size -3", ">= 1, got -3"),
    ("photo.png", "--tile 0", "got --tile 0"),
    ("photo.png", "--tile -2048", "got --tile -2048"),
    ("photo.png", "--tile 256 --overlap 256", "smaller than --tile"),
    ("photo.png", "--tile 256 --overlap -2", ">= 0"),
    ("photo.png", "--tile 2000 --overlap 100", "multiple of 16"),
    ("photo.png", "--tile 512 --overlap 0 --show-points", "neither --show-points"),
    ("photo.png", "--tile 512 --overlap 0 --batch-size 2", "nor --batch-size"),
    ("photo.png", "--device gpu7", "Device 'gpu7'"),
    ("photo.png", "--cfg-options model.decode_head.nose=1", "nose"),
    ("photo.png", "--cfg-options word", "must be KEY=VALUE, got word"),
    ("", "", "no such image"),
    ("empty", "", "no such image"),
    ("*.gone", "", "no such image"),
    ("twice", "", "the output of another"),
    ("photo.png", "--out in", "which is an input"),
    ("photo.png", "--out in/photo.png", "cannot be written"),
]


@pytest.mark.parametrize(("source", "options", "message"), ARGUMENTS)
def test_arguments_that_make_no_sense_get_one_line(
    source: str,
    options: str,
    message: str,
    run_tool: Tool,
    tiny_config: Path,
    checkpoint: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in ("in/empty", "in/twice"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("photo.png", "twice/a.png", "twice/a.jpg"):
        saved(tmp_path / "in" / name)
    before = (tmp_path / "in" / "photo.png").read_bytes()
    given = source and f"in/{source}"
    with pytest.raises(SystemExit) as exit_status:
        run_tool("predict", tiny_config, checkpoint, given, "--out", "out", *options.split())
    assert the_line(exit_status, capfd, message)
    assert (tmp_path / "in" / "photo.png").read_bytes() == before


def test_a_model_that_is_none_gets_one_line(
    run_tool: Tool, tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    saved(tmp_path / "photo.png")
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "text.py").write_text("model = dict(")
    for command, message in (
        (["pointrend_r50_city", checkpoint, "photo.png"], "nearest are"),
        (["gone.py", checkpoint, "photo.png"], r"gone\.py: no such config"),
        ([tmp_path, checkpoint, "photo.png"], "no such config"),
        (["text.py", checkpoint, "photo.png"], "not a valid config"),
        ([tiny_config, checkpoint], "name the checkpoint and at least one image"),
        ([tiny_config, "photo.png", "photo.png"], r"photo\.png"),
        (["gone.onnx", "photo.png"], r"gone\.onnx"),
        (["text.onnx", "photo.png"], r"text\.onnx"),
        (["text.onnx", "photo.png", "--cfg-options", "a=1"], "takes no option but"),
    ):
        with pytest.raises(SystemExit, match=rf"^error: .*{message}[^\n]*$"):
            run_tool("predict", *command, "--out", "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_what_was_written_before(
    run_tool: Tool,
    tiny_config: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in ("a.png", "b.png"):
        saved(tmp_path / name)
    save = Image.Image.save

    def full(image: Image.Image, target: Path, *args: object, **settings: object) -> None:
        if target.name.startswith(".b"):
            target.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        save(image, target, *args, **settings)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(SystemExit, match="1 of the images failed"):
        run_tool("predict", tiny_config, checkpoint, "a.png", "b.png", "--out", "out")
    assert "No space left on device" in capfd.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "a_overlay.jpg"}
    with Image.open(tmp_path / "out" / "a.png") as mask:
        mask.load()
