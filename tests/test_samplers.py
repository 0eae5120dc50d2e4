import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.registry import TASK_UTILS
from torch.nn import functional as F

from mmseg_pointrend import UncertaintyPointSampler, point_sample
from mmseg_pointrend.errors import InputError


def margins(coarse: torch.Tensor, coords: torch.Tensor, align_corners: bool) -> torch.Tensor:
    """Gap of the two best logits at points, (B, N), by way of grid_sample and topk."""
    read = F.grid_sample(coarse, 2 * coords.unsqueeze(1) - 1, align_corners=align_corners)
    best = read.squeeze(2).topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.one_of(st.none(), st.integers(1, 300)),
    st.sampled_from([1, 1.5, 3, 10]),
    st.sampled_from([0, 0.3, 0.75, 1]),
    st.integers(1, 3),
)
def test_number_type_and_range_of_points(
    image_size: tuple[int, int], num_points: int | None, k: float, beta: float, batch: int
) -> None:
    sampler = UncertaintyPointSampler(num_points, oversample_ratio=k, importance_sample_ratio=beta)
    coords = sampler(torch.randn(batch, 4, 3, 5), image_size=image_size)
    height, width = image_size
    wanted = num_points or max(1, (height // 16) * (width // 16))
    assert coords.shape == (batch, min(wanted, height * width), 2)
    assert coords.dtype == torch.float32
    assert coords.min() >= 0
    assert coords.max() < 1


@pytest.mark.parametrize(
    ("image_size", "count"), [((512, 1024), 2048), ((256, 320), 320), ((9, 9), 1)]
)
def test_as_many_points_as_the_stride_16_map_has_cells(
    image_size: tuple[int, int], count: int
) -> None:
    assert UncertaintyPointSampler()(torch.randn(1, 2, 4, 4), image_size).shape == (1, count, 2)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("beta", [0.3, 0.75, 1.0])
def test_the_first_points_are_the_least_certain_candidates(
    beta: float, align_corners: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    rand = torch.rand

    def spy(*args, **kwargs) -> torch.Tensor:
        drawn.append(rand(*args, **kwargs))
        return drawn[-1]

    coarse = torch.randn(2, 5, 6, 8)
    sampler = UncertaintyPointSampler(
        40, 3, importance_sample_ratio=beta, align_corners=align_corners
    )
    monkeypatch.setattr(torch, "rand", spy)
    coords = sampler(coarse, image_size=(64, 64))

    candidates, count = drawn[0], int(beta * 40)
    assert candidates.shape == (2, 120, 2)
    order = margins(coarse, candidates, align_corners).argsort(dim=1)[:, :count]
    expected = candidates.gather(1, order.unsqueeze(-1).expand(-1, -1, 2))
    assert torch.equal(coords[:, :count], expected)
    # the others are drawn anew
    assert not torch.isin(coords[:, count:], candidates).any()


@pytest.mark.parametrize("uncertainty", ["margin", "prob_margin"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_points_gather_half_way_between_opposite_logits(
    uncertainty: str, align_corners: bool
) -> None:
    """Every cell is as certain as any other; only between two of them lies what is not."""
    left = torch.ones(8, 8)
    left[:, 4:] = -1
    coarse = torch.stack((left, -left)).unsqueeze(0)

    def share_at_the_midline(coords: torch.Tensor) -> float:
        return ((coords[..., 0] - 0.5).abs() < 1 / 16).float().mean().item()

    sampler = UncertaintyPointSampler(200, 20, 1, uncertainty, align_corners=align_corners)
    assert share_at_the_midline(sampler(coarse, image_size=(64, 64))) > 0.9

    # The other way round, scores of the map read at the points, sees no boundary there.
    candidates = torch.rand(1, 4000, 2)
    scores = point_sample(2 * coarse.abs()[:, :1], candidates, align_corners)[:, 0]
    chosen = scores.neg().topk(200, dim=1).indices
    assert share_at_the_midline(candidates[:, chosen[0]]) < 0.5


def test_one_channel_gathers_where_its_logit_is_zero() -> None:
    coarse = torch.linspace(-4, 4, 16).repeat(16, 1).view(1, 1, 16, 16)
    coords = UncertaintyPointSampler(100, 10, 1, align_corners=True)(coarse, image_size=(64, 64))
    assert (coords[..., 0] - 0.5).abs().max() < 0.1


def test_k_1_beta_0_is_uniform_whatever_the_logits() -> None:
    sampler = UncertaintyPointSampler(4096, oversample_ratio=1, importance_sample_ratio=0)
    logits = torch.randn(2, 3, 4, 4)
    draws = []
    for coarse in (logits, 100 * logits.flip(-1)):
        torch.manual_seed(3)
        draws.append(sampler(coarse, image_size=(256, 256)))
    assert torch.equal(*draws)
    cells = (4 * draws[0]).long()
    counts = torch.bincount((cells[..., 1] * 4 + cells[..., 0]).flatten(), minlength=16)
    # 512 are expected in each cell, with a deviation of 22
    assert (counts - 512).abs().max() < 5 * 22


def test_images_of_a_batch_and_calls_get_points_of_their_own() -> None:
    coarse = torch.randn(1, 3, 8, 8).expand(2, -1, -1, -1)
    sampler = UncertaintyPointSampler(50)
    first, second = sampler(coarse, image_size=(64, 64))
    assert not torch.isin(first, second).any()
    assert not torch.isin(sampler(coarse, image_size=(64, 64))[0], first).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_full_precision_points(dtype: torch.dtype) -> None:
    coarse = torch.randn(1, 3, 8, 8, requires_grad=True).to(dtype)
    coords = UncertaintyPointSampler(500)(coarse, image_size=(512, 512))
    assert coords.dtype == torch.float32
    assert not coords.requires_grad
    # as fine as float32, not rounded to a grid of half precision
    assert len(coords.unique()) > 900


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(num_points=0), "num_points=0"),
        (dict(oversample_ratio=0.5), "oversample_ratio=0.5"),
        (dict(importance_sample_ratio=1.5), "importance_sample_ratio=1.5"),
        (dict(importance_sample_ratio=-0.1), "importance_sample_ratio=-0.1"),
        (dict(uncertainty="entropy"), "uncertainty='entropy'"),
    ],
)
def test_settings_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TASK_UTILS.build(dict(type="UncertaintyPointSampler", **arguments))


def test_a_continued_border_draws_no_more_than_its_share() -> None:
    """With zeros beyond the map its outer frame, 8 pixels wide here, looks uncertain."""
    coarse = torch.zeros(1, 2, 16, 16)
    coarse[:, 0] = torch.rand(16, 16) + 4  # as sure everywhere, give or take

    def share_in_frame(padding_mode: str) -> float:
        sampler = UncertaintyPointSampler(4000, 3, 1.0, padding_mode=padding_mode)
        coords = sampler(coarse, image_size=(256, 256))
        return ((coords < 0.5 / 16) | (coords > 1 - 0.5 / 16)).any(dim=-1).float().mean().item()

    area = 1 - (15 / 16) ** 2
    assert share_in_frame("zeros") > 2 * area
    assert abs(share_in_frame("border") - area) < 0.06


def test_an_unknown_padding_is_refused() -> None:
    with pytest.raises(InputError, match="padding_mode='reflect' is neither"):
        UncertaintyPointSampler(padding_mode="reflect")
