"""The numbers of MMSegmentation's own PointRend, on the same weights and inputs."""

from collections.abc import Callable

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.models.decode_heads import point_head
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_pointrend import UncertaintyPointSampler

ModelCfg = Callable[..., ConfigDict]
MakeSamples = Callable[..., list[SegDataSample]]

ONE_LEVEL = dict(in_channels=8, in_index=0)
THREE_LEVELS = dict(in_channels=[8, 8, 8], in_index=[0, 1, 3])
# MMSegmentation's settings
RENDERER = dict(subdivision_steps=2, subdivision_num_points=8196, scale_factor=2)
SAMPLER = dict(num_points=200, oversample_ratio=3, importance_sample_ratio=0.75)
CALL = dict(uncertainty_func=point_head.calculate_uncertainty, cfg=ConfigDict(SAMPLER))


def grid_sample(maps: Tensor, points: Tensor, align_corners: bool = False, **kwargs) -> Tensor:
    """What mmcv's compiled operator of this name computes."""
    grid = 2 * points.unsqueeze(2) - 1
    return F.grid_sample(maps, grid, align_corners=align_corners, **kwargs).squeeze(3)


@pytest.fixture(autouse=True)
def _point_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    if point_head.point_sample is None:
        monkeypatch.setattr(point_head, "point_sample", grid_sample)


def make_twins(cfg: ConfigDict, num_points: int = 8196) -> tuple[nn.Module, nn.Module]:
    """MMSegmentation's model of a config of ours, and ours with the same weights."""
    shared = dict(num_classes=cfg.decode_head.num_classes, align_corners=False)
    points = dict(type="PointHead", channels=cfg.decode_head.channels, dropout_ratio=-1)
    in_channels, in_index = cfg.decode_head.in_channels, cfg.decode_head.in_index
    points["in_channels"] = [in_channels] if isinstance(in_channels, int) else in_channels
    points["in_index"] = [in_index] if isinstance(in_index, int) else in_index
    theirs = MODELS.build(
        ConfigDict(
            cfg,
            type="CascadeEncoderDecoder",
            num_stages=2,
            decode_head=[{**cfg.decode_head.coarse_head, **shared}, {**points, **shared}],
            train_cfg=SAMPLER,
            test_cfg={**RENDERER, "mode": "whole", "subdivision_num_points": num_points},
        )
    )
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    cfg.decode_head.point_sampler = dict(type="UncertaintyPointSampler", **SAMPLER)
    cfg.decode_head.renderer = dict(
        type="DenseRenderer", **{**RENDERER, "subdivision_num_points": num_points}
    )
    ours = MODELS.build(cfg)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("levels", [ONE_LEVEL, THREE_LEVELS])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("size", [(64, 96), (61, 75), (33, 130)])
@pytest.mark.parametrize("num_points", [100, 8196])
def test_same_logits(
    tiny_model: ModelCfg, levels: dict, batch: int, size: tuple[int, int], num_points: int
) -> None:
    theirs, ours = make_twins(tiny_model(**levels), num_points)
    images = torch.randn(batch, 3, *size)
    metas = [dict(img_shape=size, pad_shape=size, ori_shape=size)] * batch
    with torch.no_grad():
        expected = theirs.eval().encode_decode(images, metas)
        logits = ours.eval().encode_decode(images, metas)
        coarse = F.interpolate(theirs.decode_head[0](theirs.extract_feat(images)), size)
    assert logits.shape == (batch, 6, *size)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    # A comparison of maps that the point heads left alone would show nothing.
    assert (expected - coarse).abs().max() > 0.1


@pytest.mark.parametrize("levels", [ONE_LEVEL, THREE_LEVELS])
@pytest.mark.parametrize("batch", [1, 2])
def test_same_losses_at_the_same_points(
    tiny_model: ModelCfg, make_samples: MakeSamples, levels: dict, batch: int
) -> None:
    theirs, ours = make_twins(tiny_model(**levels))
    images = torch.randn(batch, 3, 61, 75)
    labels = torch.randint(0, 6, (batch, 61, 75))
    labels[:, :9] = 255
    losses = []
    for model in (theirs, ours):
        torch.manual_seed(1)
        losses.append(model.train().loss(images, make_samples(labels)))
    expected, found = losses
    for name, twin in {
        "decode_0.loss_ce": "decode.coarse.loss_ce",
        "decode_0.acc_seg": "decode.coarse.acc_seg",
        "decode_1.pointloss_ce": "decode.point.loss_ce",
        "decode_1.acc_point": "decode.point.acc_point",
    }.items():
        torch.testing.assert_close(
            found[twin].squeeze(), expected[name].squeeze(), rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("batch", [1, 2])
def test_same_points_from_the_same_random_numbers(tiny_model: ModelCfg, batch: int) -> None:
    theirs, _ = make_twins(tiny_model())
    logits = torch.randn(batch, 6, 15, 19)
    torch.manual_seed(1)
    expected = theirs.decode_head[1].get_points_train(logits, **CALL)
    torch.manual_seed(1)
    points = UncertaintyPointSampler(**SAMPLER)(logits, image_size=(61, 75))
    torch.testing.assert_close(points, expected, rtol=0, atol=0)
