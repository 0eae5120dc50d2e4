import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from mmseg_pointrend.points import Window
from mmseg_pointrend.rendering.grids import FinerGrid, MapGrid

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def logits_at(grid: MapGrid | FinerGrid, pixels: Tensor) -> Tensor:
    table, row = grid.locate(pixels)
    return table[row.long()]


@settings(max_examples=80, deadline=None)
@given(st.data(), sizes, sizes, sizes, st.booleans(), st.booleans())
def test_pixels_of_a_chain_of_grids_are_those_of_the_maps(
    data: st.DataObject,
    size: tuple[int, int],
    finer: tuple[int, int],
    finest: tuple[int, int],
    align_corners: bool,
    channels_last: bool,
) -> None:
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    height, width = (data.draw(st.integers(1, n)) for n in finer)
    window = Window(finer[0] - height, finer[1] - width, height, width)
    maps = torch.randn(1, 3, *size, dtype=torch.float64)
    if channels_last:
        maps = maps.contiguous(memory_format=torch.channels_last)

    first = FinerGrid(MapGrid(maps[0]), finer, align_corners, maps[0])
    changed = torch.randperm(finer[0] * finer[1])[:3]
    rows = torch.randn(len(changed), 3, dtype=torch.float64)
    first.put(changed, rows)
    second = FinerGrid(first, finest, align_corners, maps[0], window)

    expected = F.interpolate(maps, finer, mode="bilinear", align_corners=align_corners)
    expected[0].flatten(1)[:, changed] = rows.t()
    for grid, maps_of_grid in (
        (first, expected),
        (
            second,
            F.interpolate(
                window.of(expected), finest, mode="bilinear", align_corners=align_corners
            ),
        ),
    ):
        pixels = torch.randint(0, grid.size[0] * grid.size[1], (2, 20))
        read = maps_of_grid[0].flatten(1).t()[pixels]
        torch.testing.assert_close(logits_at(grid, pixels), read)
        torch.testing.assert_close(logits_at(grid, pixels), read)  # once more, from the table
        torch.testing.assert_close(grid.full(), maps_of_grid[0])


@settings(max_examples=80, deadline=None)
@given(sizes, sizes, st.booleans())
def test_every_pixel_lies_in_one_cell(
    size: tuple[int, int], finer: tuple[int, int], align_corners: bool
) -> None:
    maps = torch.randn(2, *size)
    grid = FinerGrid(MapGrid(maps), finer, align_corners, maps)
    cells = torch.arange((size[0] + 1) * (size[1] + 1))
    assert grid.pixels_in(cells).sort().values.tolist() == list(range(finer[0] * finer[1]))
    cell_of = grid.spread(cells.view(size[0] + 1, size[1] + 1)).flatten()
    for cell in cells.tolist():
        pixels = grid.pixels_in(torch.tensor([cell])).tolist()
        assert pixels == (cell_of == cell).nonzero().flatten().tolist()
        assert (cell in grid.empty_cells().tolist()) == (not pixels)


def test_a_map_takes_other_logits() -> None:
    grid = MapGrid(torch.zeros(2, 3, 4))
    grid.put(torch.tensor([5, 1]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert logits_at(grid, torch.tensor([1, 5, 0])).tolist() == [[3, 4], [1, 2], [0, 0]]
    assert grid.full()[:, 1, 1].tolist() == [1, 2]
