from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_pointrend.engine.coarse_model import CoarseModel, read_coarse_model
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


def read(folder: Path, model: dict, **others: object) -> CoarseModel:
    path = folder / "my.py"
    path.write_text(
        "".join(f"{key} = {value}\n" for key, value in dict(others, model=model).items())
    )
    return read_coarse_model(path)


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


def test_levels_logits_and_crops(tiny_model: Callable[..., ConfigDict], tmp_path: Path) -> None:
    coarse = read(tmp_path, dict(tiny_model().to_dict(), decode_head=dict(FCN, in_index=1)))
    assert coarse.levels == [(0, 8, 4), (1, 8, 8), (2, 8, 16), (3, 8, 32)]
    assert (coarse.stride, coarse.crop_size, coarse.in_channels) == (8, (64, 64), 3)


@pytest.mark.parametrize(
    ("model", "others", "expected"),
    [
        ({}, {}, (256, 256)),
        ({}, dict(crop_size=(32, 64)), (32, 64)),
        (dict(data_preprocessor=dict(type="SegDataPreProcessor", size=(64, 32))), {}, (64, 32)),
    ],
)
def test_size_of_the_crops(
    model: dict, others: dict, expected: tuple[int, int], tmp_path: Path
) -> None:
    coarse = read(tmp_path, {**picky(expected[1], in_channels=4), **model}, **others)
    assert (coarse.levels, coarse.stride) == ([(0, 8, 4)], 4)
    assert (coarse.crop_size, coarse.in_channels) == (expected, 4)


def test_a_model_that_does_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not run on an image of 64x64.*not 96 wide"):
        read(tmp_path, picky(96), crop_size=(64, 64))


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
            "the model cannot be built|needs mmdet: No module named",
        ),
        (
            dict(type="EncoderDecoder", decode_head=dict(FCN, type="CCHead")),
            "the model cannot be built",
        ),
    ],
)
def test_other_models_are_refused_by_name(model: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, model)


def test_missing_imports_are_named(tmp_path: Path) -> None:
    imports = dict(imports="no_such_package.models", allow_failed_imports=False)
    message = r"my\.py cannot be imported: No module named 'no_such_package'$"
    with pytest.raises(InputError, match=message):
        read(tmp_path, {}, custom_imports=imports)
