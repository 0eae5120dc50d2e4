from collections.abc import Callable

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from torch import nn

from mmseg_pointrend import ImageBranch, InputError
from mmseg_pointrend.models.image_branch import image_of

ModelCfg = Callable[..., ConfigDict]


def with_image(tiny_model: ModelCfg, **decode_head: object) -> nn.Module:
    cfg = tiny_model(image_branch=dict(channels=[4, 6]), **decode_head)
    for part in (cfg.backbone, cfg.neck):
        part.update(of=part.type, type="WithImage")
    return MODELS.build(cfg)


def test_levels_of_stride_2_and_4() -> None:
    levels = ImageBranch(in_channels=2, channels=[4, 6])(torch.randn(2, 2, 32, 40))
    assert [tuple(level.shape) for level in levels] == [(2, 4, 16, 20), (2, 6, 8, 10)]


def test_backbone_and_neck_hand_on_the_image(tiny_model: ModelCfg) -> None:
    model = with_image(tiny_model)
    image = torch.randn(1, 3, 64, 64)
    features = model.extract_feat(image)
    assert image_of(features) is image
    fine = model.decode_head.fine_features(features)
    assert [level.shape[1] for level in fine] == [4, 6, 8]
    assert [64 // level.shape[-1] for level in fine] == [2, 4, 4]


def test_weights_have_the_names_that_they_have_without_it(tiny_model: ModelCfg) -> None:
    plain = MODELS.build(tiny_model()).state_dict()
    names = with_image(tiny_model).state_dict().keys()
    assert {name for name in names if "image_branch" not in name} == plain.keys()


def test_the_branch_trains(tiny_model: ModelCfg, make_samples: Callable) -> None:
    model = with_image(tiny_model)
    samples = make_samples(torch.randint(0, 6, (2, 64, 64)))
    total, _ = model.parse_losses(model.loss(torch.randn(2, 3, 64, 64), samples))
    total.backward()
    assert all(p.grad.abs().sum() > 0 for p in model.decode_head.image_branch.parameters())


def test_a_backbone_that_keeps_the_image_is_refused(tiny_model: ModelCfg) -> None:
    model = MODELS.build(tiny_model(image_branch=dict()))
    with pytest.raises(InputError, match=r"type='WithImage' and of=TYPE in model\.backbone"):
        model(torch.randn(1, 3, 64, 64))


def test_a_neck_hands_on_the_finest_level_before_its_own() -> None:
    levels = [torch.randn(1, c, 32 // 2**k, 32 // 2**k) for k, c in enumerate([4, 8, 16])]
    fpn = MODELS.build(dict(type="FPN", in_channels=[8, 16], out_channels=6, num_outs=2))
    settings = dict(of="FPN", in_channels=[4, 8, 16], out_channels=6, num_outs=2, start_level=1)
    neck = MODELS.build(dict(type="WithFinestLevel", **settings))
    neck.load_state_dict(fpn.state_dict())
    finest, *others = neck(levels)
    assert finest is levels[0]
    for found, expected in zip(others, fpn(levels[1:]), strict=True):
        assert torch.equal(found, expected)
