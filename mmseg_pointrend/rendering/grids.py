"""Grids whose pixels are looked up one by one.

The first grid of a rendering is a map. A pixel of a finer one is interpolated from four pixels of
the grid before it, unless the point head has labeled it.

Shapes beside those of :mod:`mmseg_pointrend.points`:
    P: pixels, as flat indices     R: rows of a table, each with the C channels of a pixel

A cell is the square between four neighboring pixels of the coarser grid, which is surrounded by
copies of its border: an (h, w) grid has (h + 1) * (w + 1) cells, and every pixel of a finer grid
lies in one of them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..points import PixelRows, Window, read_once
from .dense import resize

LOGITS_AT_ONCE = 1 << 17  # that a CPU interpolates at a time: so many fit its cache


class MapGrid:
    """A grid that is given as a map, (C, H, W), of single or double precision and any layout."""

    def __init__(self, maps: Tensor) -> None:
        self.batch = read_once(maps.unsqueeze(0))
        self.size = tuple(maps.shape[1:])
        self.locate = self.batch.rows.locate

    def put(self, pixels: Tensor, rows: Tensor) -> None:
        """Give (P,) distinct pixels other logits, (P, C), before any pixel is located."""
        self.batch[0].flatten(1)[:, pixels] = rows.t()

    def full(self) -> Tensor:
        """The grid as a map, (C, H, W)."""
        return self.batch[0]


class FinerGrid(PixelRows):
    """A grid of ``size`` = (H, W) that F.interpolate would make of a part of a coarser one.

    ``like`` is a (C, ...) tensor with the device and dtype of the logits.
    """

    def __init__(
        self,
        coarser: "MapGrid | FinerGrid",
        size: tuple[int, int],
        align_corners: bool,
        like: Tensor,
        window: Window | None = None,
    ) -> None:
        self.coarser, self.size, self.channels = coarser, size, len(like)
        self.align_corners = align_corners
        self.window = window or Window(0, 0, *coarser.size)
        self._y = _lay_out(self.window.height, size[0], align_corners, like)
        self._x = _lay_out(self.window.width, size[1], align_corners, like)
        # The four corners of a pixel's cell: what its row has and what its column has.
        self._row_corners = ((self._y.ends + self.window.top) * coarser.size[1])[:, [0, 0, 1, 1]]
        self._column_corners = (self._x.ends + self.window.left)[:, [0, 1, 0, 1]]
        self._row_weights = self._y.weights[:, [0, 0, 1, 1]]
        self._column_weights = self._x.weights[:, [0, 1, 0, 1]]
        super().__init__(size[0] * size[1], like.new_empty(0, self.channels))

    def spread(self, cells: Tensor) -> Tensor:
        """Give each pixel the value of its cell: (h + 1, w + 1) -> (H, W)."""
        columns = cells.gather(1, self._x.cell.expand(len(cells), -1))
        return columns.index_select(0, self._y.cell)

    def empty_cells(self) -> Tensor:
        """The cells without a pixel, flat indices."""
        has_pixels = (self._y.count > 0).unsqueeze(1) & (self._x.count > 0)
        return (~has_pixels).flatten().nonzero().squeeze(1)

    def pixels_in(self, cells: Tensor) -> Tensor:
        """The (P,) pixels that lie in some cells, flat indices, (K,)."""
        row = torch.div(cells, self.window.width + 1, rounding_mode="floor")
        y, is_y = self._y.pixels_in(row)
        x, is_x = self._x.pixels_in(cells - row * (self.window.width + 1))
        pixels = (y * self.size[1]).unsqueeze(2) + x.unsqueeze(1)
        return pixels.masked_select(is_y.unsqueeze(2) & is_x.unsqueeze(1))

    def interpolate(self, pixels: Tensor) -> Iterator[Tensor]:
        """Logits of (P,) pixels from the coarser grid, (P, C), in portions."""
        y = torch.div(pixels, self.size[1], rounding_mode="floor")
        x = pixels - y * self.size[1]
        corners = self._row_corners.index_select(0, y) + self._column_corners.index_select(0, x)
        weights = self._row_weights.index_select(0, y) * self._column_weights.index_select(0, x)
        table, row = self.coarser.locate(corners)
        # A GPU takes all of them at once.
        at_once = LOGITS_AT_ONCE // table.shape[1] if pixels.device.type == "cpu" else len(pixels)
        at_once = max(at_once, 1)
        for part, part_weights in zip(row.split(at_once), weights.split(at_once), strict=True):
            # One pass over memory, where indexing, multiplying and adding take several.
            yield F.embedding_bag(part, table, per_sample_weights=part_weights, mode="sum")

    def read(self, pixels: Tensor) -> Tensor:
        return torch.cat([*self.interpolate(pixels)])

    def full(self) -> Tensor:
        """The grid as a map, (C, H, W)."""
        maps = self.window.of(self.coarser.full()).unsqueeze(0)
        maps = resize(maps, self.size, self.align_corners).squeeze(0)
        if len(self.table):
            known = (self.row_of >= 0).nonzero().squeeze(1)
            maps.flatten(1)[:, known] = self.table[self.row_of[known]].t()
        return maps


class _Axis(NamedTuple):
    """How n pixels lie on an axis of coarser ones; cell i ends at the coarser pixels i - 1, i."""

    cell: Tensor  # of each pixel, (n,)
    ends: Tensor  # of that cell, (n, 2)
    weights: Tensor  # of these ends at the pixel, (n, 2)
    first: Tensor  # pixel of each cell, (cells,)
    count: Tensor  # of each cell's pixels, (cells,)

    def pixels_in(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels of (K,) cells, (K, M), as many as the fullest cell has, and which exist."""
        nth = torch.arange(int(self.count.max()), device=cells.device)
        pixels = self.first[cells].unsqueeze(1) + nth
        return pixels, nth < self.count[cells].unsqueeze(1)


def _lay_out(source: int, target: int, align_corners: bool, like: Tensor) -> _Axis:
    index = torch.arange(target, device=like.device, dtype=like.dtype)
    if align_corners:
        position = index * ((source - 1) / max(target - 1, 1))
    else:
        position = (index + 0.5) * (source / target) - 0.5
    weight = position - position.floor()
    cell = position.floor().long() + 1
    ends = torch.stack((cell - 1, cell), dim=1).clamp_(0, source - 1)
    count = torch.bincount(cell, minlength=source + 1)
    first = count.cumsum(0) - count
    return _Axis(cell, ends, torch.stack((1 - weight, weight), dim=1), first, count)
