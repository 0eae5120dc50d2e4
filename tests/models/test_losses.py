from collections.abc import Callable

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.models.losses import can_train_points, check_losses

ModelCfg = Callable[..., ConfigDict]

CROSS_ENTROPY = dict(type="CrossEntropyLoss", use_sigmoid=True)


GOOD = [
    (6, dict(type="CrossEntropyLoss", class_weight=[1.0] * 6)),
    (6, dict(type="CrossEntropyLoss", use_sigmoid=True, class_weight=[2.0])),
    (6, [dict(type="CrossEntropyLoss"), dict(type="DiceLoss"), dict(type="TverskyLoss")]),
    (6, dict(type="LovaszLoss", reduction="none")),
    (1, dict(type="CrossEntropyLoss", use_sigmoid=True, class_weight=[3.0])),
    (1, dict(type="LovaszLoss", loss_type="binary", reduction="none")),
]
BAD = [
    (
        6,
        dict(type="CrossEntropyLoss", class_weight=[1.0] * 5),
        "must have 6 numbers.* got 5",
    ),
    (
        6,
        dict(type="TverskyLoss", class_weight=[1.0] * 7),
        "must have 6 numbers.* got 7",
    ),
    (6, dict(CROSS_ENTROPY, class_weight=[1.0] * 6), r"got 6; set class_weight=\[1\.0\]"),
    (6, dict(type="TverskyLoss", ignore_index=3), "ignore_index=3, its head has ignore_index=255"),
    (6, dict(type="FocalLoss"), "FocalLoss runs on GPUs only"),
    (1, dict(type="CrossEntropyLoss"), "use_sigmoid=True"),
    (1, dict(CROSS_ENTROPY, class_weight=[1.0, 2.0]), r"got 2; set class_weight=\[2\.0\]"),
    (1, [CROSS_ENTROPY, dict(type="DiceLoss")], "DiceLoss cannot train .* out_channels=2"),
    (1, dict(type="TverskyLoss"), "TverskyLoss cannot train .*=True"),
    (1, dict(type="LovaszLoss", reduction="none"), "loss_type='binary'"),
]


def build(tiny_model: ModelCfg, channels: int, at_points: object, at_coarse: object) -> ConfigDict:
    classes = dict(num_classes=2, out_channels=1) if channels == 1 else {}
    return MODELS.build(
        tiny_model(**classes, loss_decode=at_points, coarse_head=dict(loss_decode=at_coarse))
    )


@pytest.mark.parametrize(("channels", "losses"), GOOD)
def test_losses_that_fit_train(tiny_model: ModelCfg, channels: int, losses: object) -> None:
    model = build(tiny_model, channels, losses, losses)
    check_losses(model)
    logits = torch.randn(2, channels, 5, 7, requires_grad=True)
    labels = torch.randint(0, max(2, channels), (2, 5, 7))
    modules = model.decode_head.loss_decode
    for loss in modules if isinstance(modules, torch.nn.ModuleList) else [modules]:
        (gradient,) = torch.autograd.grad(loss(logits, labels, ignore_index=255), logits)
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("place", ["decode_head", "decode_head.coarse_head"])
@pytest.mark.parametrize(("channels", "losses", "message"), BAD)
def test_losses_that_do_not_fit(
    tiny_model: ModelCfg, channels: int, losses: object, message: str, place: str
) -> None:
    good = CROSS_ENTROPY if channels == 1 else dict(type="CrossEntropyLoss")
    pair = (losses, good) if place == "decode_head" else (good, losses)
    with pytest.raises(InputError, match=rf"^{place}\.loss_decode: .*{message}"):
        check_losses(build(tiny_model, channels, *pair))


def test_a_loss_without_ignore_index_is_refused_at_points_only(tiny_model: ModelCfg) -> None:
    loss = dict(type="BoundaryLoss")
    check_losses(build(tiny_model, 6, dict(type="CrossEntropyLoss"), loss))
    with pytest.raises(InputError, match="BoundaryLoss takes no ignore_index"):
        check_losses(build(tiny_model, 6, loss, loss))


def test_heads_that_do_not_train_are_not_checked(tiny_model: ModelCfg) -> None:
    model = build(tiny_model, 6, dict(type="CrossEntropyLoss"), dict(type="FocalLoss"))
    model.decode_head.coarse_head.requires_grad_(False)
    check_losses(model)


def test_upstream_dice_takes_the_only_channel_for_the_background() -> None:
    """Fails when MMSegmentation mends it: then it can train one channel."""
    labels = torch.ones(1, 4, 4, dtype=torch.int64)
    right, wrong = torch.full((1, 1, 4, 4), 9.0), torch.full((1, 1, 4, 4), -9.0)
    loss = MODELS.build(dict(type="mmseg.DiceLoss"))
    assert loss(right, labels) >= loss(wrong, labels)


@pytest.mark.skipif(torch.cuda.is_available(), reason="FocalLoss runs here")
def test_focal_loss_is_offered_on_gpus_only() -> None:
    assert not can_train_points("FocalLoss", 6)
    assert can_train_points("DiceLoss", 6)
    assert not can_train_points("DiceLoss", 1)
    assert not can_train_points("BoundaryLoss", 6)
