"""Where the pixels of a grid lie on a coarser one.

A cell is the square between four neighboring pixels of the coarser grid. That grid is thought to be
surrounded by copies of its border, so that an (h, w) grid has (h + 1) * (w + 1) cells and every
pixel of a finer grid lies in one of them. Rows and columns do not know of each other in bilinear
interpolation: what a cell or a pixel has is a sum or a product of what its row and its column have.

All of this depends on sizes alone and is worked out once for all images of a size.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..points import axis_neighbors, cell_coords


class Window(NamedTuple):
    """A part of a grid: its upper left pixel and its size."""

    top: int
    left: int
    height: int
    width: int

    def of(self, maps: Tensor) -> Tensor:
        """Cut the part out of a map of the grid, (..., H, W)."""
        rows = slice(self.top, self.top + self.height)
        return maps[..., rows, self.left : self.left + self.width]


class Pairs(NamedTuple):
    """Numbers that go with pairs of a row and a column, made of those of the row and the column.

    How the two parts go together, as sums, products or conjunctions, is said where they are kept.

    Attributes:
        of_rows (Tensor): (rows, n).
        of_columns (Tensor): (columns, n).
    """

    of_rows: Tensor
    of_columns: Tensor

    @classmethod
    def outer(cls, of_rows: Tensor, of_columns: Tensor) -> "Pairs":
        """Pair each of a row's (rows, a, ...) numbers with each of a column's (columns, b, ...)."""
        a, b = of_rows.shape[1], of_columns.shape[1]
        return cls(
            of_rows.repeat_interleave(b, dim=1).flatten(1),
            torch.cat([of_columns] * a, dim=1).flatten(1),
        )

    def at(self, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """Both parts of (K,) pairs, (K, n) each."""
        return self.of_rows.index_select(0, row), self.of_columns.index_select(0, column)


class Lattice(NamedTuple):
    """How a finer (H, W) grid lies on the (h + 1, w + 1) cells of a coarser one.

    Attributes:
        cell_y (Tensor): Row of the cells that each row of pixels lies in, (H,), int64.
        cell_x (Tensor): Column of the cells that each column of pixels lies in, (W,), int64.
        is_occupied (Tensor, optional): Which cells have pixels, or None if all of them have.
        corners (Pairs): Sums are the coarser pixels at the four corners of a cell.
        weights (Pairs): Products are the weights of its cell's corners at a pixel.
        members (Pairs): Sums are the pixels in a cell, as many as the fullest one has.
        is_member (Pairs): Conjunctions tell which of these exist.
        member_weights (Pairs): Products are the weights of the corners at these pixels.
    """

    cell_y: Tensor
    cell_x: Tensor
    is_occupied: Tensor | None
    corners: Pairs
    weights: Pairs
    members: Pairs
    is_member: Pairs
    member_weights: Pairs


@lru_cache(maxsize=32)
def lay_out(
    window: Window,
    stride: int,
    size: tuple[int, int],
    align_corners: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Lattice:
    """Lay a grid over a coarser one as :func:`torch.nn.functional.interpolate` does.

    Args:
        window (Window): The part of the coarser grid that is covered.
        stride (int): Width of the whole coarser grid.
        size (tuple[int, int]): (H, W) of the finer grid.
        align_corners (bool): As in F.interpolate.
        dtype (torch.dtype): Floating-point type to compute with. F.interpolate computes with that
            of the logits.
        device (torch.device): Where the tensors go.

    Returns:
        Lattice: What its rows and columns have, which is small beside the grids.
    """
    cell_y, y_weights = _cells(window.height, size[0], align_corners, dtype, device)
    cell_x, x_weights = _cells(window.width, size[1], align_corners, dtype, device)
    y_ends, y, is_y = _contents(cell_y, window.height)
    x_ends, x, is_x = _contents(cell_x, window.width)
    is_occupied = is_y[:, :1] & is_x[:, 0]
    weights = Pairs.outer(y_weights, x_weights)
    return Lattice(
        cell_y,
        cell_x,
        None if is_occupied.all() else is_occupied,
        Pairs.outer((y_ends + window.top) * stride, x_ends + window.left),
        weights,
        Pairs.outer(y * size[1], x),
        Pairs.outer(is_y, is_x),
        Pairs.outer(weights.of_rows[y], weights.of_columns[x]),
    )


@lru_cache(maxsize=32)
def read_off(
    size: tuple[int, int], map_size: tuple[int, int], align_corners: bool, device: torch.device
) -> tuple[Pairs, Pairs]:
    """Where to read a map at the centers of the pixels of a grid.

    Args:
        size (tuple[int, int]): (H, W) of the grid.
        map_size (tuple[int, int]): (height, width) of the map.
        align_corners (bool): As in :func:`~mmseg_pointrend.points.point_sample`.
        device (torch.device): Where the tensors go.

    Returns:
        tuple[Pairs, Pairs]: Sums are the four neighbors of a pixel on the map and products their
        weights, float32, as :func:`~mmseg_pointrend.points.point_neighbors` has them.
    """
    first_column = torch.arange(size[0], device=device) * size[1]
    first_row = torch.arange(size[1], device=device)
    y = cell_coords(first_column, size, align_corners)[:, 1]
    x = cell_coords(first_row, size, align_corners)[:, 0]
    row, row_weights = axis_neighbors(y, map_size[0], align_corners)
    column, column_weights = axis_neighbors(x, map_size[1], align_corners)
    return Pairs.outer(row * map_size[1], column), Pairs.outer(row_weights, column_weights)


def _cells(
    source: int, target: int, align_corners: bool, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Which cell of an axis of ``source`` pixels each of ``target`` pixels lies in, (target,), and
    the weights of the cell's ends there, (target, 2). Cell i ends at pixels i - 1 and i."""
    index = torch.arange(target, device=device, dtype=dtype)
    if align_corners:
        position = index * ((source - 1) / max(target - 1, 1))
    else:
        position = (index + 0.5) * (source / target) - 0.5
    lower = position.floor()
    weight = position - lower
    return lower.long() + 1, torch.stack((1 - weight, weight), dim=1)


def _contents(cell: Tensor, source: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the cells of an axis of ``source`` pixels have, given the cell of each finer pixel.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Their ends, (cells, 2), their finer pixels, (cells, M), as
        many as the fullest one has, and which of these exist, (cells, M).
    """
    cells = torch.arange(source + 1, device=cell.device)
    ends = torch.stack((cells - 1, cells), dim=1).clamp_(0, source - 1)
    first = torch.searchsorted(cell, cells)
    count = torch.searchsorted(cell, cells, right=True) - first
    nth = torch.arange(int(count.max()), device=cell.device)
    pixels = (first.unsqueeze(1) + nth).clamp_(max=len(cell) - 1)
    return ends, pixels, nth < count.unsqueeze(1)
