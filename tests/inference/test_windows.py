from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.images import read_image
from mmseg_pointrend.inference.windows import WindowReader

pytest.importorskip("pyvips")


def saved(image: np.ndarray, path: Path, mode: str = "RGB", **settings: object) -> Path:
    Image.fromarray(image[..., ::-1]).convert(mode).save(path, **settings)
    return path


def turned(path: Path, image: np.ndarray) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image, path, exif=exif)


def deep(path: Path, image: np.ndarray) -> Path:
    cv2.imwrite(str(path), image.astype(np.uint16) * 257)
    return path


FILES = {
    "color.png": lambda path, image: saved(image, path),
    "gray.png": lambda path, image: saved(image, path, "L"),
    "gray_alpha.png": lambda path, image: saved(image, path, "LA"),
    "alpha.png": lambda path, image: saved(image, path, "RGBA"),
    "palette.png": lambda path, image: saved(image, path, "P"),
    "bits.png": lambda path, image: saved(image, path, "1"),
    "deep.png": deep,
    "deep.tif": deep,
    "photo.jpg": lambda path, image: saved(image, path),
    "turned.jpg": turned,
    "turned.tif": turned,
    "plain.tif": lambda path, image: saved(image, path),
    "lossy.webp": lambda path, image: saved(image, path),
    "a[1].png": lambda path, image: saved(image, path),
    "名\udcff.png": lambda path, image: saved(image, path),
}


@pytest.mark.parametrize("name", FILES)
def test_windows_are_those_of_the_whole_image(tmp_path: Path, image: np.ndarray, name: str) -> None:
    path = FILES[name](tmp_path / name, image)
    whole, reader = read_image(path), WindowReader(path)
    assert reader.size == whole.shape[:2]
    for top, bottom, left, right in ((0, *reader.size[:1], 0, reader.size[1]), (7, 30, 11, 40)):
        window = reader.read(top, bottom, left, right)
        assert window.dtype == np.uint8
        np.testing.assert_array_equal(window, whole[top:bottom, left:right])


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "strips.tif", "tiles.tif", "zip.tif"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    path = tmp_path / name
    if name in ("tiles.tif", "zip.tif"):
        compression = "zlib" if name == "zip.tif" else None
        tifffile.imwrite(path, image, tile=(64, 64), compression=compression)
    else:
        saved(image, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.8 * len(content))])
    with pytest.raises(InputError, match=name):
        WindowReader(path).read(200, 300, 0, 400)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone.png", "No such file"),
        ("empty.png", "not a whole image"),
        ("text.png", "not a whole image"),
        ("folder.png", ""),
        ("cmyk.jpg", "got cmyk"),
        ("float.tif", "of float"),
        ("dark.png", "up to 3968"),
    ],
)
def test_what_is_no_image_of_ours_is_refused_by_name(
    tmp_path: Path, image: np.ndarray, name: str, reason: str
) -> None:
    path = tmp_path / name
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    saved(image, tmp_path / "cmyk.jpg", "CMYK")
    saved(image, tmp_path / "float.tif", "F")
    cv2.imwrite(str(tmp_path / "dark.png"), image.astype(np.uint16) * 16)
    with pytest.raises(InputError, match=reason) as error:
        WindowReader(path)
    assert str(error.value).startswith(str(path))
    assert "\\n" not in str(error.value)
