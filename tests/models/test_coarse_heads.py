from collections.abc import Callable

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_pointrend import InputError, PointRendHead
from mmseg_pointrend.models.coarse_heads import coarse_losses, logit_map, within

ModelCfg = Callable[..., ConfigDict]
MakeSamples = Callable[..., list[SegDataSample]]

FCN = dict(
    type="FCNHead",
    in_channels=8,
    in_index=1,
    channels=8,
    num_convs=1,
    concat_input=False,
    dropout_ratio=0,
    norm_cfg=dict(type="BN"),
)
OCR = dict(
    type="OCRHead",
    in_channels=8,
    in_index=1,
    channels=8,
    ocr_channels=4,
    dropout_ratio=0,
    norm_cfg=dict(type="BN"),
)
KERNEL_UPDATE = dict(
    type="KernelUpdateHead",
    num_classes=6,
    num_ffn_fcs=2,
    num_heads=2,
    num_mask_fcs=1,
    feedforward_channels=8,
    in_channels=8,
    out_channels=8,
    dropout=0.0,
    ffn_act_cfg=dict(type="ReLU", inplace=True),
    with_ffn=True,
    feat_transform_cfg=dict(conv_cfg=dict(type="Conv2d"), act_cfg=None),
    kernel_updator_cfg=dict(
        type="KernelUpdator",
        in_channels=8,
        feat_channels=8,
        out_channels=8,
        act_cfg=dict(type="ReLU", inplace=True),
        norm_cfg=dict(type="LN"),
    ),
)
KNET = dict(
    type="IterativeDecodeHead",
    num_stages=2,
    kernel_update_head=[KERNEL_UPDATE] * 2,
    kernel_generate_head=FCN,
)
DA = dict(FCN, type="DAHead", pam_channels=4)
for key in ("num_convs", "concat_input"):
    DA.pop(key)
KINDS = {"cascade": [FCN, OCR], "K-Net": KNET, "tuple": DA}


def build(tiny_model: ModelCfg, coarse_head: object, **head: object) -> nn.Module:
    cfg = tiny_model(**head)
    cfg.decode_head.coarse_head = coarse_head
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", ["some", "none"])
def test_every_kind_trains(
    tiny_model: ModelCfg, make_samples: MakeSamples, kind: str, labels: str
) -> None:
    model = build(tiny_model, KINDS[kind])
    truth = torch.randint(0, 6, (2, 64, 64)) if labels == "some" else torch.full((2, 64, 64), 255)
    losses = model.loss(torch.randn(2, 3, 64, 64), make_samples(truth))
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    assert (total == 0) == (labels == "none")
    head = model.decode_head
    for part in (model.backbone, head.coarse_head, head.point_head):
        grads = [p.grad for p in part.parameters() if p.grad is not None]
        assert all(grad.isfinite().all() for grad in grads)
        assert any(grad.abs().sum() > 0 for grad in grads) == (labels == "some")
    if kind == "cascade":
        assert {name for name in losses if "coarse" in name} == {
            f"decode.coarse.{stage}.{name}" for stage in (0, 1) for name in ("loss_ce", "acc_seg")
        }


def test_a_coarse_head_is_given_what_it_shares(tiny_model: ModelCfg) -> None:
    shared = dict(num_classes=4, ignore_index=7, align_corners=True)
    for kind in KINDS.values():
        head = build(tiny_model, kind, **shared).decode_head.coarse_head
        for part in head if isinstance(head, nn.ModuleList) else [head]:
            assert {key: getattr(part, key) for key in shared} == shared
            assert part.out_channels == 4


@pytest.mark.parametrize(
    "coarse_head",
    [
        dict(FCN, num_classes=19),
        [FCN, dict(OCR, num_classes=19)],
        dict(KNET, kernel_generate_head=dict(FCN, num_classes=19)),
    ],
)
def test_a_disagreement_names_both_values(tiny_model: ModelCfg, coarse_head: object) -> None:
    message = r"coarse_head\.num_classes must be that of PointRendHead, 6, got 19"
    with pytest.raises(InputError, match=message):
        build(tiny_model, coarse_head)


def test_the_map_that_predicts_is_found() -> None:
    a, b = torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3)
    assert logit_map(a) is a
    assert logit_map((a, b)) is a
    assert logit_map([a, b]) is b
    assert logit_map([b, (a, b)]) is a


def test_maps_larger_than_the_image_are_reduced() -> None:
    logits = torch.randn(1, 2, 9, 4)
    assert within(logits, (9, 5), False) is logits
    expected = F.interpolate(logits, (8, 4), mode="bilinear", align_corners=False)
    assert torch.equal(within(logits, (8, 6), False), expected)


def test_a_frozen_coarse_head_has_no_losses(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    model = build(tiny_model, FCN).requires_grad_(False)
    output = model.decode_head.coarse_head(model.extract_feat(torch.randn(1, 3, 64, 64)))
    samples = make_samples(torch.zeros(1, 64, 64, dtype=torch.int64))
    assert coarse_losses(model.decode_head.coarse_head, output, samples, 255) == {}


def test_a_cascade_runs_each_head_once(tiny_model: ModelCfg, make_samples: MakeSamples) -> None:
    model = build(tiny_model, [FCN, OCR])
    calls: list[int] = []
    for index, head in enumerate(model.decode_head.coarse_head):
        head.register_forward_hook(lambda *_, index=index: calls.append(index))
    samples = make_samples(torch.randint(0, 6, (2, 64, 64)))
    model.loss(torch.randn(2, 3, 64, 64), samples)
    assert calls == [0, 1]
    assert isinstance(model.decode_head, PointRendHead)


def test_a_head_that_trains_on_other_maps_is_refused(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    loss = [dict(type="CrossEntropyLoss")] * 4
    model = build(tiny_model, dict(type="PIDHead", in_channels=8, channels=8, loss_decode=loss))
    with pytest.raises(InputError, match="PIDHead trains on other maps than it predicts from"):
        model.loss(torch.randn(2, 3, 64, 64), make_samples(torch.zeros(2, 64, 64).long()))


def as_pairs(levels: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(level, level.mean((2, 3))) for level in levels]


def test_levels_with_class_tokens(tiny_model: ModelCfg) -> None:
    """As a vision transformer gives them to DPTHead."""
    head = build(tiny_model, FCN).decode_head
    levels = [torch.randn(1, 8, 16 >> k, 16 >> k) for k in range(4)]
    (fine,) = head.fine_features(as_pairs(levels))
    assert fine is levels[0]
    assert head.fine_features(levels[0])[0] is levels[0]  # a single map, as DDRNet gives
