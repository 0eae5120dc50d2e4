from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.images import read_image
from mmseg_pointrend.inference.tiling import (
    Tiling,
    WindowReader,
    predict_tiles,
    write_label_tiff,
)

pytest.importorskip("pyvips")
tifffile = pytest.importorskip("tifffile")


Segment = Callable[[np.ndarray], np.ndarray]


@st.composite
def tilings(draw: st.DrawFn) -> Tiling:
    step, half = 16 * draw(st.integers(1, 6)), draw(st.integers(0, 40))
    return Tiling(step + 2 * half, 2 * half)


@given(tilings(), st.integers(1, 700))
def test_windows_cover_an_axis_once_and_keep_half_the_overlap_away(
    tiling: Tiling, length: int
) -> None:
    seen = []
    for number, (window, kept) in enumerate(tiling.spans(length)):
        assert 0 <= window.start < window.stop <= length
        assert window.stop - window.start == min(tiling.tile, length)
        assert window.start + kept.start == number * tiling.kept((length, 1))[0]
        seen += range(window.start + kept.start, window.start + kept.stop)
        # at the image's own edges there is nothing to drop
        assert kept.start >= (tiling.overlap // 2 if window.start else 0)
        dropped = window.stop - window.start - kept.stop
        assert dropped >= (tiling.overlap // 2 if window.stop < length else 0)
    assert seen == list(range(length))


@pytest.mark.parametrize(
    ("tile", "overlap", "reason"),
    [
        (0, 0, "must be even, >= 0"),
        (-2048, 256, "must be even, >= 0"),
        (2048, -2, "must be even, >= 0"),
        (256, 256, "smaller than --tile"),
        (256, 512, "smaller than --tile"),
        (2048, 255, "must be even"),
        (2008, 256, "multiple of 16"),
    ],
)
def test_sizes_that_are_none_are_refused(tile: int, overlap: int, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Tiling(tile, overlap)


def assembled(tiles: Iterator[np.ndarray], reader: WindowReader, tiling: Tiling) -> np.ndarray:
    whole = np.full(reader.size, -1, dtype=np.int64)
    height, width = tiling.kept(reader.size)
    for top in range(0, reader.size[0], height):
        for left in range(0, reader.size[1], width):
            tile = next(tiles)
            part = whole[top : top + height, left : left + width]
            assert tile.shape == part.shape
            part[...] = tile
    assert next(tiles, None) is None
    return whole


def predicted(segment: Segment, path: Path, tiling: Tiling) -> np.ndarray:
    reader = WindowReader(path)
    return assembled(predict_tiles(segment, reader, tiling), reader, tiling)


def blurred(image: np.ndarray) -> np.ndarray:
    """Labels that depend on all pixels within 8 rows and columns."""
    return cv2.blur(image[..., 0], (17, 17), borderType=cv2.BORDER_REPLICATE).astype(np.int64) // 8


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Path, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 256, (150, 331, 3), dtype=np.uint8)
    path = tmp_path / "scene.png"
    cv2.imwrite(str(path), image)
    return path, image


@pytest.mark.parametrize("tile", [48, 64, 144, 160, 336])
def test_there_are_no_seams_where_the_overlap_covers_what_labels_depend_on(
    scene: tuple[Path, np.ndarray], tile: int
) -> None:
    path, image = scene
    windows = []

    def segment(window: np.ndarray) -> np.ndarray:
        windows.append(window.shape)
        return blurred(window)

    np.testing.assert_array_equal(predicted(segment, path, Tiling(tile, 16)), blurred(image))
    assert max(max(shape) for shape in windows) <= tile


def test_without_the_overlap_there_are_seams(scene: tuple[Path, np.ndarray]) -> None:
    path, image = scene
    found = predicted(blurred, path, Tiling(64, 0))
    differs = found != blurred(image)
    assert differs.any()
    assert not differs[:, 8:56].any(
        where=(np.arange(150) % 64 >= 8)[:, None] & (np.arange(150) % 64 < 56)[:, None]
    )


def test_an_image_that_fits_is_predicted_as_it_is(scene: tuple[Path, np.ndarray]) -> None:
    path, image = scene
    seen = []

    def segment(window: np.ndarray) -> np.ndarray:
        seen.append(window)
        return blurred(window)

    assert Tiling(336, 0).kept((150, 331)) == (160, 336)
    np.testing.assert_array_equal(predicted(segment, path, Tiling(336, 0)), blurred(image))
    (window,) = seen
    np.testing.assert_array_equal(window, image)


def test_windows_are_predicted_when_their_tile_is_asked_for(
    scene: tuple[Path, np.ndarray],
) -> None:
    path, _ = scene
    count = 0

    def segment(window: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return blurred(window)

    tiles = predict_tiles(segment, WindowReader(path), Tiling(64, 16))
    assert count == 0
    for done in range(1, 5):
        next(tiles)
        assert count == done


PALETTE = [[1, 2, 3], [255, 0, 0], [0, 0, 255]]


def tiles_of(labels: np.ndarray, side: int) -> Iterator[np.ndarray]:
    for top in range(0, labels.shape[0], side):
        for left in range(0, labels.shape[1], side):
            yield labels[top : top + side, left : left + side]


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (33, 70), (100, 31)])
def test_holds_indices_and_palette(tmp_path: Path, size: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 256, size)
    path = tmp_path / "labels.tif"
    write_label_tiff(path, tiles_of(labels, 32), size, (32, 32), PALETTE)
    np.testing.assert_array_equal(tifffile.imread(path), labels)
    with Image.open(path) as written:
        assert written.mode == "P"
        np.testing.assert_array_equal(np.asarray(written), labels)
        assert written.getpalette()[: 3 * 4] == [*np.ravel(PALETTE).tolist(), 0, 0, 0]
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].tile == (32, 32)
    assert list(tmp_path.iterdir()) == [path]


def test_a_tile_is_taken_when_the_one_before_is_written(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)

    def tiles() -> Iterator[np.ndarray]:
        for count in range(64):
            (partial,) = tmp_path.iterdir()
            # noise does not compress; the last tile may be on its way
            assert partial.stat().st_size >= (count - 1) * noise.size
            yield noise

    write_label_tiff(tmp_path / "a.tif", tiles(), (2048, 2048), (256, 256), PALETTE)


def test_what_fails_on_the_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.tif"
    path.write_bytes(b"old")

    def tiles(error: Exception) -> Iterator[np.ndarray]:
        yield np.zeros((16, 16), dtype=np.int64)
        raise error

    for error, expected in (
        (InputError("a.jpg: not whole"), InputError),
        (OSError(28, "No space left on device"), InputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):
        with pytest.raises(expected):
            write_label_tiff(path, tiles(error), (16, 32), (16, 16), PALETTE)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    tile = np.full((16, 16), 256)
    with pytest.raises(InputError, match="label 256"):
        write_label_tiff(tmp_path / "a.tif", [tile], (16, 16), (16, 16), PALETTE)
    assert not list(tmp_path.iterdir())


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
    everything = slice(0, reader.size[0]), slice(0, reader.size[1])
    for rows, columns in (everything, (slice(7, 30), slice(11, 40))):
        window = reader.read(rows, columns)
        assert window.dtype == np.uint8
        np.testing.assert_array_equal(window, whole[rows, columns])


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "strips.tif", "tiles.tif", "zip.tif"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
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
        WindowReader(path).read(slice(200, 300), slice(0, 400))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone.png", "No such file"),
        ("empty.png", "not a whole image"),
        ("text.png", "not a whole image"),
        ("folder.png", ""),
        ("float.tif", "got float"),
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
    saved(image, tmp_path / "float.tif", "F")
    cv2.imwrite(str(tmp_path / "dark.png"), image.astype(np.uint16) * 16)
    with pytest.raises(InputError, match=reason) as error:
        WindowReader(path)
    assert str(error.value).startswith(str(path))
    assert "\\n" not in str(error.value)
