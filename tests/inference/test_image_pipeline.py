"""What a model sees of a file, and what it would see of it in a test."""

from collections.abc import Callable
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmseg.apis.utils import _preprare_data
from mmseg.datasets import BaseSegDataset
from mmseg.registry import TRANSFORMS
from PIL import Image

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.image_pipeline import (
    ImagePipeline,
    loading_obstacle,
    split_pipeline,
)

RESIZE = dict(type="Resize", scale=(64, 32))
PACK = dict(type="PackSegInputs")
OWN = dict(type="ShapesDataset", pipeline=[dict(type="LoadImageFromFile"), RESIZE])
# What a run makes of it, and what may be around it.
CHECKED = dict(OWN, pipeline=[dict(type="LoadCheckedImage"), RESIZE])
REPEATED = dict(type="RepeatDataset", times=2, dataset=OWN)
JOINED = dict(type="ConcatDataset", datasets=[REPEATED, CHECKED])

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (20, 28, 3), dtype=np.uint8)
BANDS = RNG.random((20, 28, 12), dtype=np.float32)


@TRANSFORMS.register_module()
class ReadHalves(BaseTransform):
    """A loader of one's own: the two halves of an image are bands of their own."""

    def transform(self, results: dict) -> dict:
        gray = mmcv.imread(results["img_path"], "grayscale")
        results["img"] = np.stack(np.hsplit(gray, 2), axis=2).astype(np.float32) / 255
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        results["is_mine"] = True
        return results


@TRANSFORMS.register_module()
class NeedMine(BaseTransform):
    """A step that needs what the loader above leaves."""

    def transform(self, results: dict) -> dict:
        results["img"] = results["img"] + float(results["is_mine"])
        return results


def write_tiff(path: Path, bands: np.ndarray) -> None:
    pytest.importorskip("tifffile").imwrite(path, bands, planarconfig="contig")


def save(mode: str) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(COLORS).convert(mode).save(path)


FILE, CHANNELS = dict(type="LoadImageFromFile"), dict(color_type="unchanged")
TIFFFILE = dict(FILE, imdecode_backend="tifffile")
# name: how the file is written, how it is loaded, the channels that a model sees
KINDS = {
    "color.png": (save("RGB"), [FILE], 3),
    "color.jpg": (save("RGB"), [FILE], 3),
    "gray.png": (save("L"), [FILE], 3),
    "rgba.png": (save("RGBA"), [FILE], 3),
    "palette.png": (save("P"), [FILE], 3),
    "one_band.png": (save("L"), [dict(FILE, color_type="grayscale")], 1),
    "four_bands.png": (save("RGBA"), [dict(FILE, **CHANNELS)], 4),
    "pillow.png": (save("RGBA"), [dict(FILE, imdecode_backend="pillow")], 3),
    "deep.png": (lambda path: cv2.imwrite(str(path), COLORS.astype(np.uint16) * 250), [FILE], 3),
    "16_bits.png": (
        lambda path: cv2.imwrite(str(path), COLORS.astype(np.uint16) * 9),
        [dict(FILE, **CHANNELS, to_float32=True)],
        3,
    ),
    "opencv.tif": (save("RGB"), [FILE], 3),
    "rgb.tif": (lambda path: write_tiff(path, COLORS), [TIFFFILE], 3),
    "4.tif": (lambda path: write_tiff(path, BANDS[..., :4]), [TIFFFILE], 4),
    "12.tif": (lambda path: write_tiff(path, BANDS), [dict(TIFFFILE, **CHANNELS)], 12),
    "bands.npy": (lambda path: np.save(path, BANDS), [dict(type="LoadImageFromNpyFile")], 12),
    "own.png": (save("RGB"), [dict(type="ReadHalves"), dict(type="NeedMine")], 2),
}


def config(pipeline: list[dict], **dataset: object) -> Config:
    dataset = dict(dict(type="BaseSegDataset", pipeline=pipeline), **dataset)
    return Config(dict(test_dataloader=dict(dataset=dataset)))


def prepared(cfg: Config, image: Path | np.ndarray) -> dict:
    pipeline = ImagePipeline(cfg)
    return pipeline.prepare(pipeline.load(image))


@pytest.mark.parametrize("name", KINDS)
def test_a_model_sees_of_a_file_what_it_sees_in_a_test(tmp_path: Path, name: str) -> None:
    write, load, channels = KINDS[name]
    path = tmp_path / "images" / name
    path.parent.mkdir()
    (tmp_path / "labels").mkdir()
    write(path)
    size = ImagePipeline(config([*load, PACK])).load(path)["img"].shape[:2]
    Image.new("L", size[::-1]).save(tmp_path / "labels" / f"{path.stem}.png")
    pipeline = [*load, dict(type="Resize", scale_factor=2.0), dict(type="LoadAnnotations"), PACK]
    dataset = BaseSegDataset(
        data_root=str(tmp_path),
        data_prefix=dict(img_path="images", seg_map_path="labels"),
        img_suffix=path.suffix,
        pipeline=pipeline,
    )
    tested = dataset[0]
    assert tested["data_samples"].img_path == str(path)
    predicted = prepared(config(pipeline), path)
    assert predicted["inputs"].shape[0] == channels
    assert predicted["inputs"].dtype == tested["inputs"].dtype
    torch.testing.assert_close(predicted["inputs"], tested["inputs"], rtol=0, atol=0)
    for key in ("img_shape", "ori_shape", "scale_factor"):
        assert getattr(predicted["data_samples"], key) == getattr(tested["data_samples"], key)


@pytest.mark.parametrize(
    ("load", "image"),
    [
        (FILE, COLORS),
        (dict(FILE, to_float32=True), COLORS),
        (dict(FILE, color_type="grayscale"), COLORS[..., 0]),
        (TIFFFILE, BANDS),
        (dict(type="LoadImageFromNpyFile"), BANDS.astype(np.float64)),
    ],
)
def test_arrays_are_taken_as_by_mmsegmentation(load: dict, image: np.ndarray) -> None:
    pipeline = [load, RESIZE, dict(type="LoadAnnotations"), PACK]

    class Model:
        cfg = Config(dict(test_pipeline=pipeline))

    expected, _ = _preprare_data(image, Model())
    found = prepared(config(pipeline), image)
    assert found["inputs"].dtype == expected["inputs"][0].dtype
    torch.testing.assert_close(found["inputs"], expected["inputs"][0], rtol=0, atol=0)


@pytest.mark.parametrize("dataset", [OWN, CHECKED, REPEATED, JOINED])
def test_images_are_loaded_already(dataset: dict) -> None:
    assert split_pipeline(Config(dict(test_dataloader=dict(dataset=dataset))))[1] == [RESIZE]


@pytest.mark.parametrize(
    ("load", "obstacle"),
    [
        ([FILE], None),
        ([dict(type="mmcv.LoadCheckedImage", to_float32=True)], None),
        ([dict(FILE, imdecode_backend="pillow")], None),
        ([TIFFFILE], "imdecode_backend='tifffile'"),
        ([dict(FILE, color_type="grayscale")], "color_type='grayscale'"),
        ([dict(FILE, **CHANNELS)], "color_type='unchanged'"),
        ([dict(type="ReadHalves")], "ReadHalves"),
        ([FILE, dict(type="LoadMore")], "LoadMore"),
        ([dict(type="LoadImageFromNpyFile")], "LoadImageFromNpyFile"),
    ],
)
def test_loading_that_rgb_pixels_cannot_stand_for(load: list[dict], obstacle: str | None) -> None:
    assert loading_obstacle(config([*load, PACK])) == obstacle


def test_a_decoder_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmcv.image.io, "tifffile", None)
    with pytest.raises(InputError, match="cannot be used: `tifffile` is not installed"):
        ImagePipeline(config([TIFFFILE, PACK]))
    assert mmcv.image.io.imread_backend == "cv2"


def test_causes_are_told_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BANDS)
    (tmp_path / "text.npy").write_text("no array")
    pipeline = ImagePipeline(config([dict(type="LoadImageFromNpyFile"), PACK]))
    assert pipeline.load(tmp_path / "a.npy")["img"].shape == BANDS.shape
    with pytest.raises(InputError, match=r"text\.npy: the test pipeline cannot load it \("):
        pipeline.load(tmp_path / "text.npy")
    with pytest.raises(InputError, match=r"gone\.npy: .*No such file"):
        pipeline.load(tmp_path / "gone.npy")
    save("RGB")(tmp_path / "a.png")
    two = config([FILE, dict(type="LoadDepthAnnotation"), PACK])
    assert prepared(two, tmp_path / "a.png")["inputs"].shape == (3, 20, 28)


def test_a_step_that_needs_more_than_the_file_is_named(tmp_path: Path) -> None:
    save("RGB")(tmp_path / "a.png")

    @TRANSFORMS.register_module(force=True)
    class LoadSecond(BaseTransform):
        def transform(self, results: dict) -> dict:
            return results["second_path"]

    @TRANSFORMS.register_module(force=True)
    class LoadByMissing(BaseTransform):
        def transform(self, results: dict) -> dict:
            raise ImportError("No module named 'rasterio'")

    @TRANSFORMS.register_module(force=True)
    class LoadWrongly(BaseTransform):
        def transform(self, results: dict) -> dict:
            return results.nothing

    for loader, error, reason in (
        ("LoadSecond", InputError, "the test pipeline cannot load it .*'second_path'"),
        ("LoadByMissing", InputError, "rasterio"),
        ("LoadWrongly", AttributeError, "nothing"),  # a defect keeps its traceback
    ):
        with pytest.raises(error, match=reason):
            ImagePipeline(config([FILE, dict(type=loader), PACK])).load(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("dataset", "suffix"),
    [
        (dict(img_suffix=".npy"), ".npy"),
        (dict(img_suffix="_bands.TIF"), ".tif"),
        (dict(type="CityscapesDataset"), ".png"),
        (dict(type="ShapesDataset"), ""),
    ],
)
def test_knows_the_suffix_of_its_images(dataset: dict, suffix: str) -> None:
    assert ImagePipeline(config([FILE, PACK], **dataset)).suffix == suffix
