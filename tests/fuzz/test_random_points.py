"""Reading maps at points, cells, margins and samplers."""

import torch
from hypothesis import strategies as st
from test_points import bilinear, grid_sample, maps_and_points
from torch.nn import functional as F

from mmseg_pointrend import UncertaintyPointSampler, point_sample, top2_margin
from mmseg_pointrend.points import cell_coords, margins, point_labels

from .examples import holds_for

TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
seeds = st.integers(0, 2**32 - 1)


@holds_for(250, maps_and_points(), st.booleans())
def test_point_sample_is_bilinear_by_the_definition(
    example: tuple[torch.Tensor, torch.Tensor], align_corners: bool
) -> None:
    maps, coords = example
    expected = [bilinear(maps[0, 0].tolist(), x, y, align_corners) for x, y in coords[0].tolist()]
    values = point_sample(maps, coords, align_corners)[0, 0]
    torch.testing.assert_close(values.tolist(), expected, rtol=1e-9, atol=1e-9)


@holds_for(
    150,
    seeds,
    sizes,
    st.integers(1, 3),
    st.integers(1, 5),
    st.sampled_from([*TOLERANCE]),
    st.booleans(),
    st.booleans(),
)
def test_point_sample_is_grid_sample(
    seed: int,
    size: tuple[int, int],
    batch: int,
    channels: int,
    dtype: torch.dtype,
    channels_last: bool,
    align_corners: bool,
) -> None:
    torch.manual_seed(seed)
    maps = torch.randn(batch, channels, *size).to(dtype)
    coords = 2 * torch.rand(batch, 30, 2) - 0.5
    layout = torch.channels_last if channels_last else torch.contiguous_format
    values = point_sample(maps.contiguous(memory_format=layout), coords, align_corners)
    assert values.dtype == dtype
    expected = grid_sample(maps.double(), coords.double(), align_corners=align_corners)
    torch.testing.assert_close(
        values.double(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )


@holds_for(150, seeds, sizes, st.booleans())
def test_point_labels_is_the_nearest_pixel(
    seed: int, size: tuple[int, int], align_corners: bool
) -> None:
    torch.manual_seed(seed)
    labels = torch.arange(size[0] * size[1]).view(1, *size)
    coords = torch.rand(1, 50, 2)
    centers = cell_coords(labels.flatten(), size, align_corners)
    scale = torch.tensor([n - 1 if align_corners else n for n in reversed(size)])
    away = ((centers - coords[0].unsqueeze(1)) * scale).abs().amax(dim=-1)
    chosen = point_labels(labels, coords, align_corners)[0]
    assert (away.gather(1, chosen.unsqueeze(1)) <= 0.5 + 1e-4).all()


@holds_for(100, seeds, st.tuples(st.integers(1, 3000), st.integers(1, 3000)), st.booleans())
def test_cells_are_where_they_are_read(
    seed: int, size: tuple[int, int], align_corners: bool
) -> None:
    torch.manual_seed(seed)
    index = torch.randint(0, size[0] * size[1], (1, 20))
    coords = cell_coords(index, size, align_corners)
    assert coords.min() >= 0
    assert coords.max() <= 1
    rows = torch.arange(size[0]).view(1, -1, 1).expand(1, *size)
    columns = torch.arange(size[1]).expand(1, *size)
    read = [point_labels(labels, coords, align_corners) for labels in (rows, columns)]
    assert torch.equal(read[0] * size[1] + read[1], index)


@holds_for(
    100,
    st.lists(st.sampled_from([-50.0, -1.0, 0.0, 1e-30, 0.5, 0.5000001, 50.0]), min_size=1),
    st.integers(0, 3),
)
def test_margins_are_those_of_topk(values: list[float], dim: int) -> None:
    shape = [1, 1, 1, 1]
    shape[dim] = len(values)
    logits = torch.tensor(values).view(shape)
    margin = top2_margin(logits, dim)
    if len(values) == 1:
        assert torch.equal(margin, logits.abs().squeeze(dim))
        return
    best = logits.topk(2, dim=dim).values
    assert torch.equal(margin, best.select(dim, 0) - best.select(dim, 1))


samplers = st.builds(
    UncertaintyPointSampler,
    num_points=st.one_of(st.none(), st.integers(1, 300)),
    oversample_ratio=st.floats(1, 8),
    importance_sample_ratio=st.floats(0, 1),
    uncertainty=st.sampled_from(["margin", "prob_margin"]),
    padding_mode=st.sampled_from(["zeros", "border"]),
    align_corners=st.booleans(),
)


@holds_for(200, seeds, samplers, sizes, sizes, st.integers(1, 3), st.sampled_from([1, 2, 7]))
def test_samplers_take_the_least_certain_of_their_candidates(
    seed: int,
    sampler: UncertaintyPointSampler,
    image_size: tuple[int, int],
    map_size: tuple[int, int],
    batch: int,
    classes: int,
) -> None:
    height, width = image_size
    wanted = sampler.num_points or max(1, (height // 16) * (width // 16))
    count = min(wanted, height * width)
    torch.manual_seed(seed)
    logits = 3 * torch.randn(batch, classes, *map_size)
    torch.manual_seed(seed)
    coords = sampler(logits, image_size)
    assert coords.shape == (batch, count, 2)
    assert coords.dtype == torch.float32
    assert coords.min() >= 0
    assert coords.max() < 1

    torch.manual_seed(seed)  # the same candidates, scored by way of grid_sample
    candidates = torch.rand(batch, int(sampler.oversample_ratio * count), 2)
    read = F.grid_sample(
        logits.double(),
        (2 * candidates - 1).double().unsqueeze(1),
        padding_mode=sampler.padding_mode,
        align_corners=sampler.align_corners,
    ).squeeze(2)
    scores = margins(read, sampler.uncertainty)
    chosen = int(sampler.importance_sample_ratio * count)
    for image in range(batch):
        where = {tuple(xy): k for k, xy in enumerate(candidates[image].tolist())}
        taken = [where[tuple(xy)] for xy in coords[image, :chosen].tolist()]
        assert len(set(taken)) == chosen
        expected = scores[image].sort().values[:chosen]
        torch.testing.assert_close(scores[image, taken].sort().values, expected, rtol=0, atol=1e-4)
