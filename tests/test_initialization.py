import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from mmseg_pointrend import PointMLP
from mmseg_pointrend.errors import InputError

START_AS_COARSE = dict(type="CoarseIdentity")


@pytest.mark.parametrize("out_channels", [1, 4])
@pytest.mark.parametrize(("num_fcs", "each_layer"), [(0, False), (0, True), (3, True)])
def test_a_point_head_starts_with_the_coarse_logits(
    out_channels: int, num_fcs: int, each_layer: bool
) -> None:
    head = PointMLP(
        5,
        out_channels,
        channels=8,
        num_fcs=num_fcs,
        coarse_pred_each_layer=each_layer,
        init_cfg=START_AS_COARSE,
    )
    head.init_weights()
    coarse = torch.randn(2, out_channels, 9)
    assert torch.equal(head(torch.randn(2, 5, 9), coarse), coarse)


def test_the_hidden_layers_start_as_ever_and_learn() -> None:
    head = PointMLP(5, 3, channels=8, init_cfg=START_AS_COARSE)
    before = [fc.conv.weight.clone() for fc in head.fcs]
    head.init_weights()
    assert all(torch.equal(fc.conv.weight, old) for fc, old in zip(head.fcs, before, strict=True))
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    fine, coarse = torch.randn(2, 5, 20), torch.randn(2, 3, 20)
    labels = torch.randint(3, (2, 20))
    for _ in range(2):  # the first step moves only the last layer, whose weights let none through
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(fine, coarse), labels).backward()
        optimizer.step()
    assert all(
        not torch.equal(fc.conv.weight, old) for fc, old in zip(head.fcs, before, strict=True)
    )


@pytest.mark.parametrize("scope", ["mmseg", "mmengine"])
def test_is_found_whatever_the_default_scope_is(scope: str) -> None:
    with DefaultScope.overwrite_default_scope(scope):
        head = MODELS.build(
            dict(type="mmseg.PointMLP", in_channels=5, out_channels=3, init_cfg=START_AS_COARSE)
        )
        head.init_weights()
    assert torch.equal(head.fc_seg.weight[:, -3:, 0], torch.eye(3))


def test_wants_a_last_layer_that_sees_the_coarse_logits() -> None:
    head = PointMLP(5, 3, channels=8, coarse_pred_each_layer=False, init_cfg=START_AS_COARSE)
    with pytest.raises(InputError, match="coarse_pred_each_layer=True"):
        head.init_weights()


def test_is_for_point_heads() -> None:
    head = MODELS.build(
        dict(
            type="mmseg.FCNHead",
            in_channels=4,
            channels=4,
            num_classes=3,
            norm_cfg=dict(type="BN"),
            init_cfg=START_AS_COARSE,
        )
    )
    with pytest.raises(InputError, match="not for a FCNHead"):
        head.init_weights()
