import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.images import (
    as_picture,
    colorize,
    overlay,
    read_image,
    write_label_png,
    write_picture,
)

PALETTE = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
COLORS = [[10, 20, 30], [200, 100, 0]]


def test_reads_color_as_opencv_does(tmp_path: Path, image: np.ndarray) -> None:
    path = tmp_path / "ä b.png"
    Image.fromarray(image[..., ::-1]).save(path)
    np.testing.assert_array_equal(read_image(path), image)


def test_gray_16_bit_and_alpha_become_color(tmp_path: Path, image: np.ndarray) -> None:
    gray = image[..., 0]
    for name, pixels in {
        "gray": gray,
        "deep": gray.astype(np.uint16) * 256,
        "alpha": np.dstack([gray, gray, gray, gray]),
    }.items():
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), pixels)
        np.testing.assert_array_equal(read_image(path), np.dstack([gray] * 3))


def test_turns_an_image_as_its_exif_says(tmp_path: Path, image: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    path = tmp_path / "turned.jpg"
    Image.fromarray(image[..., ::-1]).save(path, exif=exif)
    assert read_image(path).shape == (53, 41, 3)


def test_an_empty_missing_or_other_file_is_refused_by_name(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.png", tmp_path / "text.jpg"
    empty.write_bytes(b"")
    text.write_text("no image")
    for path, reason in (
        (empty, "empty"),
        (text, "not an image"),
        (tmp_path / "gone.png", "No such"),
    ):
        with pytest.raises(InputError, match=reason) as error:
            read_image(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
def test_a_truncated_image_is_refused(
    tmp_path: Path, image: np.ndarray, suffix: str, share: float
) -> None:
    content = cv2.imencode(suffix, image)[1].tobytes()
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    assert read_image(path).shape == image.shape
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="broken"):
        read_image(path)


def test_label_png_holds_indices_and_palette(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 2, 1], [2, 2, 1, 0]], dtype=np.int64)
    path = tmp_path / "sub" / "labels.png"
    write_label_png(path, labels, PALETTE)
    with Image.open(path) as written:
        assert written.format == "PNG"
        assert written.mode == "P"
        np.testing.assert_array_equal(np.asarray(written), labels)
        assert written.getpalette()[:9] == np.ravel(PALETTE).tolist()
        assert written.convert("RGB").getpixel((1, 0)) == (255, 0, 0)


def test_label_png_holds_indices_beyond_the_palette(tmp_path: Path) -> None:
    labels = np.array([[0, 3], [200, 255]])
    write_label_png(tmp_path / "labels.png", labels, PALETTE)
    with Image.open(tmp_path / "labels.png") as written:
        np.testing.assert_array_equal(np.asarray(written), labels)


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label 256"):
        write_label_png(tmp_path / "labels.png", np.array([[0, 256]]), PALETTE)
    assert not list(tmp_path.iterdir())


def test_images_survive_writing(tmp_path: Path, image: np.ndarray) -> None:
    write_picture(tmp_path / "image.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), image)
    write_picture(tmp_path / "image.jpg", image)
    difference = read_image(tmp_path / "image.jpg").astype(int) - image
    assert np.abs(difference).mean() < 12


def test_a_jpeg_is_whole_up_to_the_end_of_the_image_and_not_of_its_preview(
    tmp_path: Path, image: np.ndarray
) -> None:
    path = tmp_path / "photo.jpg"
    preview = io.BytesIO()
    Image.fromarray(image[::4, ::4, ::-1]).save(preview, "JPEG")
    segment = b"Exif\0\0" + preview.getvalue()
    for settings in ({}, {"progressive": True}, {"quality": 100, "subsampling": 0}):
        Image.fromarray(image[..., ::-1]).save(path, **settings)
        content = path.read_bytes()
        length = (len(segment) + 2).to_bytes(2, "big")
        content = content[:2] + b"\xff\xe1" + length + segment + content[2:]
        for whole in (content, content + b"\0 a video that a camera appends \xff\xda"):
            path.write_bytes(whole)
            assert read_image(path).shape == image.shape
        for end in range(9, len(content) - 1, 7):
            path.write_bytes(content[:end])
            with pytest.raises(InputError, match="truncated"):
                read_image(path)


@pytest.mark.parametrize(
    ("largest", "is_read"), [(0, True), (255, False), (4095, False), (4096, True)]
)
def test_16_bits_that_are_not_in_use_are_refused(
    tmp_path: Path, largest: int, is_read: bool
) -> None:
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.full((3, 4), largest, dtype=np.uint16))
    if is_read:
        assert read_image(path).max() == largest // 256
    else:
        with pytest.raises(InputError, match=f"values up to {largest} only"):
            read_image(path)


def test_colorize_paints_classes_in_bgr_and_the_rest_black() -> None:
    painted = colorize(np.array([[0, 1, 2], [255, -1, 1]]), COLORS)
    assert painted.dtype == np.uint8
    first, second, black = [30, 20, 10], [0, 100, 200], [0, 0, 0]
    assert painted.tolist() == [[first, second, black], [black, black, second]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_colorize_takes_any_integers(dtype: type) -> None:
    labels = np.array([[0, 1, 7]], dtype=dtype)
    assert colorize(labels, COLORS).tolist() == [[[30, 20, 10], [0, 100, 200], [0, 0, 0]]]


def test_overlay_mixes_image_and_colors(image: np.ndarray) -> None:
    labels = np.indices(image.shape[:2]).sum(axis=0) % 2
    colors = colorize(labels, COLORS)
    np.testing.assert_array_equal(overlay(image, labels, COLORS, opacity=0), image)
    np.testing.assert_array_equal(overlay(image, labels, COLORS, opacity=1), colors)
    half = overlay(image, labels, COLORS)
    assert half.dtype == np.uint8
    assert np.abs(half - (image / 2 + colors / 2)).max() <= 0.5


def test_any_bands_become_a_picture(image: np.ndarray) -> None:
    np.testing.assert_array_equal(as_picture(image), image)
    np.testing.assert_array_equal(as_picture(image, is_bgr=False), image[..., ::-1])
    gray = np.dstack([image[..., 0]] * 3)
    for one in (image[..., 0], image[..., :1], image[..., :2]):
        np.testing.assert_array_equal(as_picture(one), gray)
    bands = np.random.default_rng(0).normal(300, 50, (30, 40, 12)).astype(np.float32)
    bands[0, 0] = np.nan, *[np.inf] * 11
    for values in (bands, np.nan_to_num(bands, posinf=0).astype(np.uint16), bands * 0 + 1):
        picture = as_picture(values)
        assert picture.shape == (30, 40, 3)
        assert picture.dtype == np.uint8
    assert as_picture(bands).std() > 50
