import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mmseg_pointrend import point_sample, top2_margin
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.points import (
    cell_coords,
    check_uncertainty,
    margins,
    point_labels,
    read_once,
    stride16_cells,
)

both_conventions = pytest.mark.parametrize("align_corners", [False, True])


def bilinear(values: list[list[float]], x: float, y: float, align_corners: bool) -> float:
    """One value by the definition: every pixel counts by a tent of one pixel around its center."""
    height, width = len(values), len(values[0])
    col = x * (width - 1) if align_corners else x * width - 0.5
    row = y * (height - 1) if align_corners else y * height - 0.5
    return sum(
        values[i][j] * max(0.0, 1 - abs(row - i)) * max(0.0, 1 - abs(col - j))
        for i, j in itertools.product(range(height), range(width))
    )


def grid_sample(maps: torch.Tensor, coords: torch.Tensor, **kwargs) -> torch.Tensor:
    return F.grid_sample(maps, 2 * coords.unsqueeze(1) - 1, **kwargs).squeeze(2)


@st.composite
def maps_and_points(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """A float64 map, (1, 1, H, W), and points on, between and beyond its pixels, (1, N, 2)."""
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    values = draw(
        st.lists(st.floats(-8, 8, width=32), min_size=height * width, max_size=height * width)
    )

    def coordinate(length: int) -> st.SearchStrategy[float]:
        centers = [(i + 0.5) / length for i in range(length)]
        corners = [i / max(length - 1, 1) for i in range(length)]
        beyond = [-1 / length, 1 + 1 / length, -3.0, 4.0]
        return st.one_of(st.floats(-0.75, 1.75), st.sampled_from([*centers, *corners, *beyond]))

    points = draw(
        st.lists(st.tuples(coordinate(width), coordinate(height)), min_size=1, max_size=12)
    )
    maps = torch.tensor(values, dtype=torch.float64).view(1, 1, height, width)
    return maps, torch.tensor(points, dtype=torch.float64).unsqueeze(0)


@settings(max_examples=150, deadline=None)
@given(maps_and_points(), st.booleans())
def test_point_sample_is_bilinear_with_zeros_outside(
    example: tuple[torch.Tensor, torch.Tensor], align_corners: bool
) -> None:
    maps, coords = example
    values = point_sample(maps, coords, align_corners)
    expected = [bilinear(maps[0, 0].tolist(), x, y, align_corners) for x, y in coords[0].tolist()]
    torch.testing.assert_close(values[0, 0].tolist(), expected, rtol=1e-9, atol=1e-9)


@both_conventions
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 8), (33, 2)])
def test_point_sample_equals_grid_sample(size: tuple[int, int], align_corners: bool) -> None:
    maps = torch.randn(3, 4, *size)
    coords = 1.6 * torch.rand(3, 50, 2) - 0.3
    torch.testing.assert_close(
        point_sample(maps, coords, align_corners),
        grid_sample(maps, coords, align_corners=align_corners),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        (torch.float64, 1e-6),
        (torch.float32, 1e-6),
        (torch.float16, 1e-3),
        (torch.bfloat16, 1e-2),
    ],
)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided", "expanded"])
def test_point_sample_reads_any_layout_in_its_own_type(
    dtype: torch.dtype, tolerance: float, layout: str
) -> None:
    maps = torch.randn(2, 3, 8, 10).to(dtype)
    maps = {
        "contiguous": maps,
        "channels_last": maps.to(memory_format=torch.channels_last),
        "strided": maps[:, 1:, ::2, 1::3],
        "expanded": maps[:, :1].expand(-1, 5, -1, -1),
    }[layout]
    coords = torch.rand(2, 40, 2)
    values = point_sample(maps, coords)
    assert values.dtype == dtype
    assert values.shape == (2, maps.shape[1], 40)
    expected = grid_sample(maps.double(), coords.double(), align_corners=False)
    torch.testing.assert_close(values.double(), expected, rtol=tolerance, atol=tolerance)


def test_point_sample_keeps_half_precision_under_autocast() -> None:
    maps, coords = torch.randn(1, 2, 4, 4), torch.rand(1, 9, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert point_sample(maps.bfloat16(), coords).dtype == torch.bfloat16
        torch.testing.assert_close(
            point_sample(maps, coords), grid_sample(maps, coords, align_corners=False)
        )


@both_conventions
def test_point_sample_gradients(align_corners: bool) -> None:
    maps = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    coords = 1.4 * torch.rand(2, 6, 2, dtype=torch.float64) - 0.2
    assert torch.autograd.gradcheck(lambda m: point_sample(m, coords, align_corners), (maps,))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pixels_are_read_once(layout: torch.memory_format) -> None:
    maps = torch.randn(2, 3, 8, 10).bfloat16().contiguous(memory_format=layout)
    parts = torch.rand(2, 60, 2).split(20, dim=1)
    expected = [point_sample(maps, part) for part in parts]
    maps = read_once(maps)
    for _ in range(2):
        for part, values in zip(parts, expected, strict=True):
            assert torch.equal(point_sample(maps, part), values)
    assert 0 < len(maps.rows.table) <= 2 * 80


def test_point_sample_without_points() -> None:
    assert point_sample(torch.randn(2, 3, 4, 5), torch.empty(2, 0, 2)).shape == (2, 3, 0)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 9), st.integers(1, 9))
def test_point_labels_takes_the_pixel_that_a_point_lies_in(
    data: st.DataObject, height: int, width: int
) -> None:
    labels = torch.arange(height * width).view(1, height, width)
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    dx, dy = data.draw(st.floats(0.01, 0.99)), data.draw(st.floats(0.01, 0.99))
    coords = torch.tensor([[[(col + dx) / width, (row + dy) / height]]])
    assert point_labels(labels, coords).item() == labels[0, row, col]


@both_conventions
def test_point_labels_equals_nearest_grid_sample(align_corners: bool) -> None:
    labels = torch.randint(0, 200, (3, 7, 5))
    coords = torch.rand(3, 400, 2)
    expected = grid_sample(
        labels.double().unsqueeze(1),
        coords.double(),
        mode="nearest",
        padding_mode="border",
        align_corners=align_corners,
    )
    assert torch.equal(point_labels(labels, coords, align_corners), expected.squeeze(1).long())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_point_labels_of_the_corners_and_of_any_type(dtype: torch.dtype) -> None:
    labels = torch.tensor([[[0, 1, 2], [3, 4, 255]]], dtype=dtype)
    coords = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    for align_corners in (False, True):
        read = point_labels(labels, coords, align_corners)
        assert read.dtype == dtype
        assert read.tolist() == [[0, 2, 3, 255]]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_a_map_read_at_its_cells_is_the_map(height: int, width: int, align_corners: bool) -> None:
    cells = torch.arange(height * width)
    coords = cell_coords(cells, (height, width), align_corners).unsqueeze(0)
    assert coords.dtype == torch.float32
    assert coords.min() >= 0
    assert coords.max() <= 1
    maps = torch.randn(1, 1, height, width)
    torch.testing.assert_close(
        point_sample(maps, coords, align_corners)[0, 0], maps.flatten(), rtol=0, atol=1e-4
    )
    read = point_labels(cells.view(1, height, width), coords, align_corners)
    assert torch.equal(read[0], cells)


def test_cell_coords_are_centers_in_row_major_order() -> None:
    index = torch.tensor([[0, 3], [4, 7]])
    expected = [[[1 / 8, 1 / 4], [7 / 8, 1 / 4]], [[1 / 8, 3 / 4], [7 / 8, 3 / 4]]]
    assert cell_coords(index, (2, 4)).tolist() == expected
    corners = cell_coords(index, (2, 4), align_corners=True)
    assert corners.tolist() == [[[0, 0], [1, 0]], [[0, 1], [1, 1]]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=12),
    st.integers(0, 2),
)
def test_top2_margin_equals_topk(values: list[float], dim: int) -> None:
    shape = [1, 1, 1]
    shape[dim] = len(values)
    logits = torch.tensor(values).view(shape)
    best = logits.topk(2, dim=dim).values
    assert torch.equal(top2_margin(logits, dim), best.select(dim, 0) - best.select(dim, 1))


def test_top2_margin_of_maps_and_of_a_single_class() -> None:
    logits = torch.randn(2, 19, 5, 7)
    best = logits.topk(2, dim=1).values
    assert torch.equal(top2_margin(logits), best[:, 0] - best[:, 1])
    assert torch.equal(top2_margin(logits[:, :1]), logits[:, 0].abs())
    tied = torch.tensor([[3.0, -1.0, 3.0]])
    assert top2_margin(tied).item() == 0


@pytest.mark.parametrize(
    ("size", "cells"),
    [((512, 1024), 2048), ((256, 320), 320), ((17, 47), 2), ((16, 16), 1), ((15, 1000), 1)],
)
def test_stride16_cells(size: tuple[int, int], cells: int) -> None:
    assert stride16_cells(size) == cells
    assert stride16_cells(torch.Size(size)) == cells


def gap(values: torch.Tensor) -> torch.Tensor:
    best = values.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


@pytest.mark.parametrize("shape", [(2, 5, 40), (2, 3, 6, 7)])
def test_margins_are_the_gap_of_logits_or_of_probabilities(shape: tuple[int, ...]) -> None:
    logits = 4 * torch.randn(shape)
    torch.testing.assert_close(margins(logits), gap(logits))
    torch.testing.assert_close(margins(logits, "prob_margin"), gap(logits.softmax(dim=1)))


def test_the_two_measures_disagree_where_more_classes_share_the_rest() -> None:
    # the same gap of logits, in one case over two candidates, in the other over many
    logits = torch.tensor([[1.0, 0.0, -9.0, -9.0], [1.0, 0.0, 0.0, 0.0]])
    margin, prob_margin = margins(logits), margins(logits, "prob_margin")
    assert margin[0] == margin[1]
    assert prob_margin[0] > prob_margin[1]


def test_the_two_measures_order_points_of_two_classes_alike() -> None:
    logits = torch.randn(1, 2, 200)
    order = margins(logits).argsort(dim=1)
    assert torch.equal(margins(logits, "prob_margin").argsort(dim=1), order)


@pytest.mark.parametrize("kind", ["margin", "prob_margin"])
def test_one_channel_is_the_logit_of_a_sigmoid(kind: str) -> None:
    logits = torch.randn(2, 1, 4, 4)
    assert torch.equal(margins(logits, kind), logits[:, 0].abs())


@pytest.mark.parametrize("kind", ["margin", "prob_margin"])
def test_a_tie_has_no_margin(kind: str) -> None:
    assert margins(torch.tensor([[2.0, 2.0, -1.0]]), kind).item() == 0


def test_other_measures_are_refused_by_name() -> None:
    assert check_uncertainty("prob_margin") == "prob_margin"
    with pytest.raises(InputError, match=r"uncertainty must be 'margin', .* got 'entropy'"):
        check_uncertainty("entropy")


def test_a_function_measures_uncertainty() -> None:
    logits = torch.randn(2, 5, 7)

    def entropy(logits: torch.Tensor) -> torch.Tensor:
        return -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)

    assert check_uncertainty(entropy) is entropy
    assert torch.equal(margins(logits, entropy), -entropy(logits))
