import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.registry import TASK_UTILS
from torch.nn import functional as F

from mmseg_pointrend import UncertaintyPointSampler, point_sample
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.points import point_labels
from mmseg_pointrend.samplers import near_label_boundary


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
        (dict(num_points=0), "num_points must be an integer >= 1 or None, got 0"),
        (dict(oversample_ratio=0.5), "oversample_ratio must be >= 1, got 0.5"),
        (dict(importance_sample_ratio=1.5), "importance_sample_ratio must be .* got 1.5"),
        (dict(importance_sample_ratio=-0.1), "importance_sample_ratio must be .* got -0.1"),
        (dict(uncertainty="entropy"), "uncertainty must be .* got 'entropy'"),
        (dict(boundary_ratio=2), "boundary_ratio must be .* got 2"),
        (dict(boundary_radius=0), "boundary_radius must be .* got 0"),
        (dict(padding_mode="reflect"), "padding_mode must be .* got 'reflect'"),
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


def test_a_function_chooses_points() -> None:
    """Points gather where the function says that predictions are uncertain."""
    coarse = torch.linspace(-4, 4, 16).repeat(16, 1).view(1, 1, 16, 16)
    sampler = UncertaintyPointSampler(100, 10, 1, lambda logits: logits[:, 0])
    assert sampler(coarse, image_size=(64, 64))[..., 0].min() > 0.75


label_maps = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(1, 2), st.integers(1, 14), st.integers(1, 14)
)


def random_labels(seed: int, batch: int, height: int, width: int) -> torch.Tensor:
    """A few rectangles of classes and ignored pixels, (B, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(batch, height, width, dtype=torch.long)
    for image in labels:
        for label in (3, 255, 1):
            top, left, down, across = torch.rand(4, generator=generator).mul(9).long().tolist()
            image[top : top + down, left : left + across] = label
    return labels


def near_by_definition(labels: torch.Tensor, radius: int) -> torch.Tensor:
    near = torch.zeros_like(labels, dtype=torch.bool)
    for b, y, x in (labels != 255).nonzero().tolist():
        square = labels[b, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        near[b, y, x] = ((square != labels[b, y, x]) & (square != 255)).any()
    return near


@settings(max_examples=60, deadline=None)
@given(label_maps, st.integers(1, 3))
def test_pixels_near_a_label_boundary(shape: tuple[int, ...], radius: int) -> None:
    labels = random_labels(*shape)
    assert torch.equal(near_label_boundary(labels, radius), near_by_definition(labels, radius))


def test_no_label_is_taken_for_an_ignored_one_that_its_type_cannot_hold() -> None:
    labels = torch.tensor([[[44, 255]]], dtype=torch.uint8)
    assert near_label_boundary(labels, 1, ignore_index=300).all()
    assert near_label_boundary(labels, 1, ignore_index=-1).all()


@settings(max_examples=60, deadline=None)
@given(label_maps, st.sampled_from([0.3, 0.5, 1]), st.integers(1, 3), st.booleans())
def test_the_last_points_lie_near_boundaries(
    shape: tuple[int, ...], ratio: float, radius: int, align_corners: bool
) -> None:
    labels = random_labels(*shape)
    size = tuple(labels.shape[1:])
    sampler = UncertaintyPointSampler(
        20, boundary_ratio=ratio, boundary_radius=radius, align_corners=align_corners
    )
    coords = sampler(torch.randn(len(labels), 3, 4, 4), size, labels)
    count = min(20, size[0] * size[1])
    assert coords.shape == (len(labels), count, 2)
    assert coords.min() >= 0
    assert coords.max() <= 1
    near = near_by_definition(labels, radius)
    num_near = int(ratio * count)
    drawn = point_labels(near.long(), coords[:, count - num_near :], align_corners).bool()
    assert drawn[near.flatten(1).any(dim=1)].all()


def test_points_near_boundaries_are_uniform() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, :, 4:] = 1
    sampler = UncertaintyPointSampler(64, boundary_ratio=1.0, boundary_radius=1)
    counts = torch.zeros(64)
    for _ in range(100):
        x, y = (8 * sampler(torch.zeros(1, 2, 2, 2), (8, 8), labels)[0]).long().unbind(-1)
        counts += torch.bincount(y * 8 + x, minlength=64)
    counts = counts.view(8, 8)
    assert counts[:, 3:5].sum() == 6400
    # 400 are expected in each of 16 pixels, with a deviation of 19
    assert (counts[:, 3:5] - 400).abs().max() < 5 * 19


def test_without_boundary_points_labels_change_nothing() -> None:
    coarse, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 64, 64))
    draws = []
    for given_labels in (None, labels):
        torch.manual_seed(3)
        draws.append(UncertaintyPointSampler(50)(coarse, (64, 64), given_labels))
    assert torch.equal(*draws)


def test_images_without_a_boundary_get_published_points() -> None:
    coarse = torch.linspace(-4, 4, 16).repeat(16, 1).expand(2, 1, 16, 16)
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    labels[0, :, :9] = 1
    sampler = UncertaintyPointSampler(100, 10, 1, boundary_ratio=0.5)
    first, second = sampler(coarse, (64, 64), labels)[..., 0]
    assert first[50:].max() < 0.2
    assert (second - 0.5).abs().max() < 0.1


def test_boundary_points_need_labels() -> None:
    with pytest.raises(InputError, match=r"boundary_ratio=0\.5 needs labels"):
        UncertaintyPointSampler(boundary_ratio=0.5)(torch.randn(1, 3, 4, 4), (64, 64))


def test_boundary_points_on_any_device(device: str) -> None:
    labels = torch.randint(0, 2, (2, 64, 64), device=device)
    sampler = UncertaintyPointSampler(boundary_ratio=0.5)
    coords = sampler(torch.randn(2, 3, 4, 4, device=device), (64, 64), labels)
    assert coords.device == labels.device
