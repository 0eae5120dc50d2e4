import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import nn

from mmseg_pointrend import PointMLP
from mmseg_pointrend.errors import InputError


def expected_names(num_fcs: int) -> set[str]:
    layers = [f"fcs.{k}.conv" for k in range(num_fcs)] + ["fc_seg"]
    return {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


@pytest.mark.parametrize("num_fcs", [0, 1, 3])
def test_parameters_have_the_names_of_mmsegmentation(num_fcs: int) -> None:
    head = PointMLP(7, 4, channels=8, num_fcs=num_fcs)
    assert head.state_dict().keys() == expected_names(num_fcs)


@pytest.mark.parametrize(
    ("each_layer", "widths"), [(True, [7 + 4, 8 + 4, 8 + 4]), (False, [7 + 4, 8, 8])]
)
def test_width_of_the_layers(each_layer: bool, widths: list[int]) -> None:
    head = PointMLP(7, 4, channels=8, num_fcs=2, coarse_pred_each_layer=each_layer)
    shapes = [tuple(fc.conv.weight.shape) for fc in head.fcs] + [tuple(head.fc_seg.weight.shape)]
    assert shapes == [(8, widths[0], 1), (8, widths[1], 1), (4, widths[2], 1)]


@pytest.mark.parametrize("num_fcs", [0, 1, 3])
@pytest.mark.parametrize("each_layer", [False, True])
def test_equals_a_perceptron_at_every_point(each_layer: bool, num_fcs: int) -> None:
    head = PointMLP(5, 3, channels=8, num_fcs=num_fcs, coarse_pred_each_layer=each_layer)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    fine, coarse = torch.randn(2, 5, 9), torch.randn(2, 3, 9)
    weights = head.state_dict()
    logits = head(fine, coarse)
    assert logits.shape == (2, 3, 9)
    for image in range(2):
        for point in range(9):
            prediction = coarse[image, :, point]
            x = torch.cat((fine[image, :, point], prediction))
            for k in range(num_fcs):
                x = weights[f"fcs.{k}.conv.weight"][:, :, 0] @ x + weights[f"fcs.{k}.conv.bias"]
                x = x.clamp(min=0)
                if each_layer:
                    x = torch.cat((x, prediction))
            expected = weights["fc_seg.weight"][:, :, 0] @ x + weights["fc_seg.bias"]
            torch.testing.assert_close(logits[image, :, point], expected, rtol=1e-4, atol=1e-4)


def test_points_know_nothing_of_each_other() -> None:
    head = PointMLP(5, 3, channels=8).eval()
    fine, coarse = torch.randn(1, 5, 12), torch.randn(1, 3, 12)
    logits = head(fine, coarse)
    order = torch.randperm(12)
    torch.testing.assert_close(head(fine[..., order], coarse[..., order]), logits[..., order])
    changed = fine.clone()
    changed[..., 4] += 10
    moved = (head(changed, coarse) - logits).abs().sum(dim=1)[0] > 1e-6
    assert moved.nonzero().flatten().tolist() == [4]


def test_no_points_have_no_logits() -> None:
    assert PointMLP(5, 3)(torch.empty(2, 5, 0), torch.empty(2, 3, 0)).shape == (2, 3, 0)


def test_builds_from_a_config_with_normalization() -> None:
    cfg = dict(type="PointMLP", in_channels=5, out_channels=3, norm_cfg=dict(type="BN1d"))
    head = MODELS.build(cfg)
    assert isinstance(head.fcs[0].bn, nn.BatchNorm1d)
    assert head(torch.randn(2, 5, 6), torch.randn(2, 3, 6)).shape == (2, 3, 6)


def test_initial_logits_are_small() -> None:
    head = PointMLP(256, 19)
    head.init_weights()
    assert head.fc_seg.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert head.fc_seg.bias.abs().max() == 0
    assert head.fcs[0].conv.weight.std() > 0.02


def test_coarse_logits_follow_the_features_type() -> None:
    head = PointMLP(5, 3, channels=8).bfloat16()
    logits = head(torch.randn(1, 5, 4).bfloat16(), torch.randn(1, 3, 4))
    assert logits.dtype == torch.bfloat16


def test_features_are_standardized_by_the_batch_and_then_by_what_was_seen() -> None:
    head = PointMLP(5, 3, channels=8, standardize=True)
    plain = PointMLP(5, 3, channels=8)
    plain.load_state_dict(head.state_dict(), strict=False)
    fine, coarse = 30 * torch.randn(2, 5, 40) + 7, torch.randn(2, 3, 40)
    mean = fine.mean(dim=(0, 2), keepdim=True)
    variance = fine.var(dim=(0, 2), keepdim=True, correction=0)
    expected = plain((fine - mean) / (variance + 1e-5).sqrt(), coarse)
    torch.testing.assert_close(head(fine, coarse), expected)

    for _ in range(200):  # until the running mean and variance have settled
        head(fine, coarse)
    variance = fine.var(dim=(0, 2), keepdim=True, correction=1)
    expected = plain((fine - mean) / (variance + 1e-5).sqrt(), coarse)
    torch.testing.assert_close(head.eval()(fine, coarse), expected, atol=1e-4, rtol=1e-4)


def test_norms_of_maps_are_refused() -> None:
    with pytest.raises(InputError, match=r"dict\(type='BN1d'\)"):
        PointMLP(5, 3, norm_cfg=dict(type="BN"))


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
