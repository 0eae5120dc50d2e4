from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_pointrend.engine.coarse_model import (
    Offer,
    build_coarse_model,
    find_offer,
    read_model_config,
)
from mmseg_pointrend.errors import InputError

FCN = dict(
    type="FCNHead",
    in_channels=8,
    in_index=0,
    channels=8,
    num_convs=1,
    num_classes=6,
    norm_cfg=dict(type="BN"),
)


def offer_of(model: dict, **others: object) -> Offer:
    cfg, path = Config(dict(model=model, **others)), Path("my.py")
    return find_offer(build_coarse_model(cfg, path), cfg, path)


@MODELS.register_module()
class PickyBackbone(BaseModule):
    """A backbone of a single map that takes images of one width."""

    def __init__(self, width: int, in_channels: int = 3) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(in_channels, 8, 4, stride=4)
        self.width = width

    def forward(self, images: Tensor) -> tuple[Tensor]:
        assert images.shape[-1] == self.width, f"not {self.width} wide"
        return (self.conv(images),)


def picky(width: int, **settings: object) -> dict:
    backbone = dict(type="PickyBackbone", width=width, **settings)
    return dict(
        type="EncoderDecoder", backbone=backbone, decode_head=FCN, test_cfg=dict(mode="whole")
    )


def test_levels_logits_and_crops(tiny_model: Callable[..., ConfigDict]) -> None:
    offer = offer_of(dict(tiny_model(), decode_head=dict(FCN, in_index=1)))
    assert offer.levels == [(0, 8, 4), (1, 8, 8), (2, 8, 16), (3, 8, 32)]
    assert offer == Offer(offer.levels, 8, (64, 64), 3, True)


@pytest.mark.parametrize(
    ("model", "others", "expected"),
    [
        ({}, {}, (256, 256)),
        ({}, dict(crop_size=(32, 64)), (32, 64)),
        (dict(data_preprocessor=dict(type="SegDataPreProcessor", size=(64, 32))), {}, (64, 32)),
    ],
)
def test_size_of_the_crops(model: dict, others: dict, expected: tuple[int, int]) -> None:
    offer = offer_of({**picky(expected[1], in_channels=4), **model}, **others)
    assert offer == Offer([(0, 8, 4)], 4, expected, 4, takes_any_size=False)


def test_a_model_that_does_not_run_is_refused() -> None:
    with pytest.raises(InputError, match=r"does not run on an image of 64x64.*not 96 wide"):
        offer_of(picky(96), crop_size=(64, 64))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (dict(), r"must be EncoderDecoder or CascadeEncoderDecoder, got no model"),
        (dict(type="MultimodalEncoderDecoder"), r"compares the image with text \(SAN\)"),
        (dict(type="DepthEstimator"), "predicts depth"),
        (
            dict(type="CascadeEncoderDecoder", decode_head=[FCN, dict(type="PointHead")]),
            r"is a PointRend model already: train or test it with configs/pointrend_\*\.py",
        ),
        (
            dict(type="EncoderDecoder", decode_head=dict(FCN, type="mmdet.NoHead")),
            "the model cannot be built|needs the package mmdet",
        ),
        (
            dict(type="EncoderDecoder", decode_head=dict(FCN, type="CCHead")),
            "the model cannot be built|needs the compiled operators of mmcv",
        ),
    ],
)
def test_other_models_are_refused_by_name(model: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "my.py"
    path.write_text(f"model = {model}\n")
    with pytest.raises(InputError, match=message):
        build_coarse_model(read_model_config(path), path)


def test_missing_imports_are_named(tmp_path: Path) -> None:
    imports = dict(imports="no_such_package.models", allow_failed_imports=False)
    (tmp_path / "my.py").write_text(f"custom_imports = {imports}\nmodel = dict()\n")
    with pytest.raises(InputError, match=r"my\.py needs the package no_such_package, which is not"):
        read_model_config(tmp_path / "my.py")
