from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.tiling import LabelTiles, write_label_tiff

tifffile = pytest.importorskip("tifffile")
PALETTE = [[1, 2, 3], [255, 0, 0], [0, 0, 255]]


def tiles_of(labels: np.ndarray, side: int) -> Iterator[np.ndarray]:
    for top in range(0, labels.shape[0], side):
        for left in range(0, labels.shape[1], side):
            yield labels[top : top + side, left : left + side]


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (33, 70), (100, 31)])
def test_holds_indices_and_palette(tmp_path: Path, size: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 256, size)
    path = tmp_path / "labels.tif"
    write_label_tiff(path, LabelTiles(size, (32, 32), tiles_of(labels, 32)), PALETTE)
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

    write_label_tiff(tmp_path / "a.tif", LabelTiles((2048, 2048), (256, 256), tiles()), PALETTE)


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
            write_label_tiff(path, LabelTiles((16, 32), (16, 16), tiles(error)), PALETTE)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    tile = np.full((16, 16), 256)
    with pytest.raises(InputError, match="label 256"):
        write_label_tiff(tmp_path / "a.tif", LabelTiles((16, 16), (16, 16), [tile]), PALETTE)
    assert not list(tmp_path.iterdir())
