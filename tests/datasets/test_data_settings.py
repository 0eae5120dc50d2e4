from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmseg_pointrend.datasets import check_data_settings
from mmseg_pointrend.errors import InputError

IMAGE = dict(type="LoadImageFromFile")
LABELS = dict(type="LoadAnnotations")
CROP = dict(type="RandomCrop", crop_size=(64, 48))
SIZE = (64, 48)


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    """A run on one image of 50x60 pixels with labels 0 and 1."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    write(tmp_path, "images", np.full((50, 60, 3), 99, np.uint8))
    write(tmp_path, "labels", np.eye(50, 60, dtype=np.uint8))
    dataset = dict(
        type="BaseSegDataset",
        data_root=str(tmp_path),
        img_suffix=".png",
        data_prefix=dict(img_path="images", seg_map_path="labels"),
    )
    model = dict(
        type="EncoderDecoder",
        data_preprocessor=dict(type="SegDataPreProcessor", size=SIZE),
        decode_head=dict(type="FCNHead"),
    )
    train = dict(dataset=dict(**dataset, pipeline=[IMAGE, LABELS, CROP]))
    val = dict(dataset=dict(**dataset, pipeline=[IMAGE, LABELS]))
    return Config(dict(model=model, train_dataloader=train, val_dataloader=val))


def write(root: Path, folder: str, pixels: np.ndarray) -> None:
    cv2.imwrite(str(root / folder / "a.png"), pixels)


def refused(cfg: Config, message: str, changes: dict[str, Any]) -> None:
    check_data_settings(cfg)
    cfg.merge_from_dict(changes)
    with pytest.raises(InputError, match=message) as error:
        check_data_settings(cfg)
    assert "\n" not in str(error.value)


PADDING = [
    (dict(size=None), r"either a size_divisor or the .*; set .*size=\(64, 48\), the crop_"),
    (dict(size_divisor=32), r"got size=\(64, 48\) and size_divisor=32; set .*size=\(64, 48\)"),
    (dict(size=(48, 64)), r"got size=\(48, 64\) .*; set .*size=\(64, 48\), the crop_size"),
    (dict(size=64), r"got size=64 .*; set .*size=\(64, 48\)"),
    (dict(seg_pad_val=0), r"seg_pad_val=0, .* ignore_index=255 of model\.decode_head; .*val=255"),
]


@pytest.mark.parametrize(("changes", "message"), PADDING)
def test_padding(cfg: Config, changes: dict, message: str) -> None:
    refused(cfg, message, {f"model.data_preprocessor.{k}": v for k, v in changes.items()})
    check_data_settings(cfg, ["val_dataloader"])  # nothing is padded there


@pytest.mark.parametrize("head", ["decode_head", "auxiliary_head"])
def test_padding_that_a_head_does_not_ignore(cfg: Config, head: str) -> None:
    refused(cfg, rf"ignore_index=0 of model\.{head}", {f"model.{head}.ignore_index": 0})
    cfg.model.data_preprocessor.seg_pad_val = 0
    cfg.model[head].ignore_index = 0
    cfg.model.setdefault("auxiliary_head", dict(ignore_index=0))
    cfg.model.decode_head.ignore_index = 0
    check_data_settings(cfg)


@pytest.mark.parametrize(
    ("last_step", "size"), [(None, SIZE), (dict(type="Pad", size=(96, 96)), (96, 96))]
)
def test_sizes_that_are_right(cfg: Config, last_step: dict | None, size: tuple) -> None:
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.dataset.pipeline = pipeline + ([last_step] if last_step else [])
    cfg.model.data_preprocessor.size = size
    check_data_settings(cfg)
    cfg.model.data_preprocessor = dict(type="SegDataPreProcessor", size_divisor=32)
    check_data_settings(cfg)
    cfg.model.data_preprocessor = dict(type="MyPreprocessor")
    check_data_settings(cfg)


def test_no_crop_that_could_be_named(cfg: Config) -> None:
    cfg.train_dataloader.dataset.pipeline = [IMAGE, LABELS]
    check_data_settings(cfg)
    cfg.model.data_preprocessor.size = None
    with pytest.raises(InputError, match=r"set .*size=\(height, width\) of the crops"):
        check_data_settings(cfg)


def test_reduce_zero_label_of_the_transform(cfg: Config) -> None:
    step = dict(LABELS, reduce_zero_label=True)
    cfg.val_dataloader.dataset.pipeline = [IMAGE, step]
    with pytest.raises(InputError, match=r"False in BaseSegDataset of val_.* True in Load.* val"):
        check_data_settings(cfg)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.reduce_zero_label = True
    check_data_settings(cfg)
    cfg.val_dataloader.dataset.type = "ADE20KDataset"  # whose default it is
    del cfg.val_dataloader.dataset["reduce_zero_label"]
    check_data_settings(cfg)


def test_reduce_zero_label_of_two_loaders(cfg: Config) -> None:
    refused(
        cfg,
        "True in BaseSegDataset of train_dataloader and False in BaseSegDataset of val_",
        {"train_dataloader.dataset.reduce_zero_label": True},
    )


@pytest.mark.parametrize(("backend", "package"), [("turbojpeg", "PyTurboJPEG"), ("tifffile",) * 2])
def test_decoders(cfg: Config, backend: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmcv.image.io.tifffile", None)
    cfg.val_dataloader.dataset.pipeline = [dict(IMAGE, imdecode_backend=backend), LABELS]
    with pytest.raises(
        InputError, match=rf"imdecode_backend='{backend}'.*`{package}` is not installed"
    ):
        check_data_settings(cfg)


def test_files_are_looked_into(cfg: Config, tmp_path: Path) -> None:
    write(tmp_path, "images", np.full((50, 60, 3), 4000, np.uint16))
    with pytest.raises(InputError, match="values up to 4000 only"):
        check_data_settings(cfg)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.pipeline[0] = dict(IMAGE, color_type="unchanged")
    check_data_settings(cfg)
    write(tmp_path, "labels", np.full((50, 60), 300, np.uint16))
    with pytest.raises(InputError, match="has the label 300"):
        check_data_settings(cfg)


def test_files_in_a_wrapper_are_missing(cfg: Config, tmp_path: Path) -> None:
    dataset = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=dataset)
    check_data_settings(cfg)
    (tmp_path / "labels" / "a.png").unlink()
    with pytest.raises(InputError, match="1 files are missing"):
        check_data_settings(cfg)
