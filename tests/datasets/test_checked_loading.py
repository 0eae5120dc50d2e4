import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmseg_pointrend.datasets.checked_loading import LoadCheckedAnnotations, LoadCheckedImage
from mmseg_pointrend.errors import InputError

PHOTO = cv2.resize(np.arange(60, dtype=np.uint8).reshape(4, 5, 3) * 4, (53, 41))
KEEPS_16_BITS = dict(color_type="unchanged")


def write(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def load_labels(path: Path, size: tuple[int, int], **settings: object) -> np.ndarray:
    sample = dict(
        seg_map_path=str(path),
        img_path="x.jpg",
        ori_shape=size,
        seg_fields=[],
        label_map=None,
        reduce_zero_label=False,
    )
    return LoadCheckedAnnotations(**settings).transform(sample)["gt_seg_map"]


@pytest.mark.parametrize(
    ("name", "depth", "settings"),
    [
        ("x.jpg", 8, {}),
        ("x.png", 8, dict(color_type="grayscale", to_float32=True)),
        ("x.png", 8, dict(imdecode_backend="pillow")),
        ("x.png", 16, {}),
        ("x.tif", 16, KEEPS_16_BITS),
    ],
)
def test_images_are_those_of_the_plain_transform(
    tmp_path: Path, name: str, depth: int, settings: dict
) -> None:
    write(tmp_path / name, PHOTO if depth == 8 else PHOTO.astype(np.uint16) * 257)
    results = [
        kind(**settings).transform(dict(img_path=str(tmp_path / name)))
        for kind in (LoadImageFromFile, LoadCheckedImage)
    ]
    np.testing.assert_array_equal(results[0].pop("img"), results[1]["img"])
    assert results[1].pop("img").dtype == (
        np.float32
        if settings.get("to_float32")
        else np.uint16
        if settings == KEEPS_16_BITS
        else np.uint8
    )
    assert results[0] == results[1]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_12_bits_in_16_need_a_loader_that_keeps_them(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write(path, PHOTO.astype(np.uint16) * 16)
    sample = dict(img_path=str(path))
    with pytest.raises(InputError, match=r"16 bits and values up to \d+ only"):
        LoadCheckedImage().transform(sample)
    assert LoadCheckedImage(**KEEPS_16_BITS).transform(sample)["img"].max() > 255
    write(path, PHOTO.astype(np.uint16) * 0)  # black is black
    LoadCheckedImage().transform(sample)


def jpeg(**settings: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, "JPEG", **settings)
    return file.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_jpegs(tmp_path: Path, progressive: bool) -> None:
    content, path = jpeg(progressive=progressive), tmp_path / "x.jpg"
    preview = b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content
    for whole in (content, content + b"more", content[:2] + preview + content[2:]):
        path.write_bytes(whole)
        LoadCheckedImage().transform(dict(img_path=str(path)))
        path.write_bytes(whole[: whole.rfind(b"\xff\xd9")])
        with pytest.raises(InputError, match="truncated"):
            LoadCheckedImage().transform(dict(img_path=str(path)))


@pytest.mark.parametrize("backend", ["cv2", "pillow"])
@pytest.mark.parametrize("content", [None, b"", b"text", b"\xff\xd8 half", b"\x89PNG\r\n\x1a\n"])
def test_broken_files(tmp_path: Path, content: bytes | None, backend: str) -> None:
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.png cannot be read as an image"):
        LoadCheckedImage(imdecode_backend=backend).transform(dict(img_path=str(path)))
    with pytest.raises(InputError, match=r"x\.png cannot be read as a label map"):
        load_labels(path, (1, 1))


def test_a_missing_decoder_is_no_broken_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmcv.image.io.tifffile", None)
    write(tmp_path / "x.tif", PHOTO)
    with pytest.raises(AttributeError):
        LoadCheckedImage(imdecode_backend="tifffile").transform(
            dict(img_path=str(tmp_path / "x.tif"))
        )


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (2, 3)])
def test_labels_of_any_size_keep_their_shape(size: tuple[int, int], tmp_path: Path) -> None:
    labels = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
    write(tmp_path / "x.png", labels)
    np.testing.assert_array_equal(load_labels(tmp_path / "x.png", size), labels)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((4, 5, 3), np.uint8), "is a color image"),
        (np.full((4, 5), 258, np.uint16), "has the label 258"),
        (np.zeros((4, 6), np.uint8), r"shape \(4, 6\) .* x\.jpg has \(4, 5\)"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    write(tmp_path / "x.png", pixels)
    with pytest.raises(InputError, match=message):
        load_labels(tmp_path / "x.png", (4, 5))


def test_values_are_mapped_at_once(tmp_path: Path) -> None:
    write(tmp_path / "x.png", np.array([[0, 1, 255]], dtype=np.uint8))
    # as in a config that was written and read again
    loaded = load_labels(tmp_path / "x.png", (1, 3), value_map={"255": 1, "1": 0})
    assert loaded.tolist() == [[0, 0, 1]]
