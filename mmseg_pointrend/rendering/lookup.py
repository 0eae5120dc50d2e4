"""Rows of single pixels, looked up or interpolated on demand.

A rendering passes through a chain of grids, each finer than the one before. The first is a map; a
pixel of any other is interpolated from four pixels of the grid before it, unless the point head has
labeled it. So a pixel's logits can be found without building a single one of the maps.

Shapes beside those of :mod:`mmseg_pointrend.points`:
    P: pixels     K: cells     R: rows of a table, each with the C channels of a pixel

A pixel is a flat, row-major index, int64; for cells see :mod:`.lattice`.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from .lattice import Window, lay_out

# Pixels that a CPU finds at a time: what is at work fits its cache and needs no fresh memory, which
# the operating system would have to clear first.
FOUND_AT_ONCE = 2048


class Grid:
    """A grid of pixels with C channels, of which each is found when it is asked for, once.

    Args:
        size (Sequence[int]): (height, width).
        channels (int): Number of channels.
        like (Tensor): Has the device and the dtype of the rows.
    """

    def __init__(self, size: Sequence[int], channels: int, like: Tensor) -> None:
        self.size = tuple(size)
        self.channels = channels
        self._table = like.new_empty(0, channels)
        self._count = 0

    @cached_property
    def _row_of(self) -> Tensor:
        """Number of each pixel's row in the table, (H * W,); negative if there is none yet."""
        pixels = self.size[0] * self.size[1]
        return torch.full((pixels,), -1, dtype=torch.int32, device=self._table.device)

    def locate(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Find pixels.

        Args:
            pixels (Tensor): Pixels, any shape.

        Returns:
            tuple[Tensor, Tensor]: A table with their rows, (R, C), and each one's number there,
            int32 or int64, of the shape of ``pixels``.
        """
        number = self._row_of.take(pixels)
        missing = pixels.masked_select(number < 0)
        if len(missing):
            # Each leaves a number at its pixel. Of those that are the same pixel one's number
            # stays, whichever; it speaks for the others. No sorting.
            number = torch.arange(len(missing), dtype=torch.int32, device=missing.device)
            self._row_of.scatter_(0, missing, number)
            missing = missing.masked_select(self._row_of.take(missing) == number)
            self.reserve(len(missing))
            for part in portions(len(missing), FOUND_AT_ONCE, missing.device):
                self.add(missing[part], self._find(missing[part]))
            number = self._row_of.take(pixels)
        return self._table[: self._count], number

    def add(self, pixels: Tensor, rows: Tensor) -> None:
        """Take up (P, C) rows of (P,) distinct pixels that were not found before."""
        self.reserve(len(pixels))
        start, end = self._count, self._count + len(pixels)
        self._table[start:end] = rows
        number = torch.arange(start, end, dtype=torch.int32, device=pixels.device)
        self._row_of.scatter_(0, pixels, number)
        self._count = end

    def replace(self, pixels: Tensor, rows: Tensor) -> None:
        """Give (P,) distinct pixels other rows, (P, C)."""
        table, number = self.locate(pixels)
        table[number] = rows

    def reserve(self, count: int) -> None:
        """Make room for that many rows, lest adding them one by one moves all others around."""
        needed = self._count + count
        if needed > len(self._table):
            table = self._table.new_empty(needed + needed // 8, self.channels)
            table[: self._count] = self._table[: self._count]
            self._table = table

    def full(self) -> Tensor:
        """The grid as a map, (C, H, W)."""
        raise NotImplementedError

    def _find(self, pixels: Tensor) -> Tensor:
        """Rows of (P,) distinct pixels, (P, C)."""
        raise NotImplementedError


class MapGrid(Grid):
    """A grid that is given as a map.

    Args:
        maps (Tensor): (C, H, W), any floating-point type. Channels-first or channels_last it is not
            copied; what was cut out of a larger map is.
        dtype (torch.dtype): The type of the rows.
    """

    def __init__(self, maps: Tensor, dtype: torch.dtype) -> None:
        super().__init__(maps.shape[-2:], len(maps), maps.new_empty(0, dtype=dtype))
        _, height, width = maps.stride()
        self.maps = maps if height == maps.shape[2] * width else maps.contiguous()
        self._has_rows = self.maps.stride(0) == 1  # channels_last: a pixel is a row of memory

    def locate(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        if self._has_rows and self.maps.dtype == self._table.dtype:
            return self._all_rows(), pixels
        return super().locate(pixels)

    def replace(self, pixels: Tensor, rows: Tensor) -> None:
        self.maps.flatten(1)[:, pixels] = rows.t()

    def full(self) -> Tensor:
        return self.maps

    def _find(self, pixels: Tensor) -> Tensor:
        return self._all_rows().index_select(0, pixels)

    def _all_rows(self) -> Tensor:
        return self.maps.permute(1, 2, 0).flatten(0, 1)


class FinerGrid(Grid):
    """A grid that is interpolated from a coarser one.

    Args:
        parent (Grid): The coarser grid.
        size (Sequence[int]): (height, width) of this grid.
        align_corners (bool): As in :func:`torch.nn.functional.interpolate`.
        like (Tensor): Has the device and the dtype of the rows.
        window (Window, optional): The part of the coarser grid that this one covers. Defaults to
            None: all of it.

    Attributes:
        window (Window): See above.
        lattice (Lattice): How this grid lies on the coarser one.
    """

    def __init__(
        self,
        parent: Grid,
        size: Sequence[int],
        align_corners: bool,
        like: Tensor,
        window: Window | None = None,
    ) -> None:
        super().__init__(size, parent.channels, like)
        self.parent = parent
        self.align_corners = align_corners
        self.window = window or Window(0, 0, *parent.size)
        self.lattice = lay_out(
            self.window, parent.size[1], self.size, align_corners, like.dtype, like.device
        )

    def spread(self, cells: Tensor) -> Tensor:
        """Give each pixel the value of its cell: (h + 1, w + 1) -> (H, W)."""
        columns = cells.gather(1, self.lattice.cell_x.expand(len(cells), -1))
        return columns.index_select(0, self.lattice.cell_y)

    def interpolate(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Interpolate the pixels that lie in some cells of the coarser grid.

        Args:
            cells (Tensor): Flat indices of distinct cells, (K,), int64.

        Returns:
            tuple[Tensor, Tensor]: The pixels, (P,), int64, and their rows, (P, C).
        """
        row = torch.div(cells, self.window.width + 1, rounding_mode="floor")
        cell = row, cells - row * (self.window.width + 1)
        table, corners = self.parent.locate(torch.add(*self.lattice.corners.at(*cell)))
        pixels = torch.add(*self.lattice.members.at(*cell)).flatten()
        weights = torch.mul(*self.lattice.member_weights.at(*cell)).view(-1, 4)
        corners = corners.repeat_interleave(len(pixels) // max(len(cells), 1), dim=0)
        exist = torch.logical_and(*self.lattice.is_member.at(*cell)).flatten().nonzero().squeeze(1)
        if len(exist) < len(pixels):
            pixels, weights, corners = (
                values.index_select(0, exist) for values in (pixels, weights, corners)
            )
        return pixels, weighted_rows(table, corners, weights)

    def full(self) -> Tensor:
        maps = F.interpolate(
            self.window.of(self.parent.full()).unsqueeze(0),
            size=self.size,
            mode="bilinear",
            align_corners=self.align_corners,
        ).squeeze(0)
        known = (self._row_of >= 0).nonzero().squeeze(1)
        maps.flatten(1)[:, known] = self._table[self._row_of[known]].t()
        return maps

    def _find(self, pixels: Tensor) -> Tensor:
        y = torch.div(pixels, self.size[1], rounding_mode="floor")
        x = pixels - y * self.size[1]
        cell = self.lattice.cell_y.take(y), self.lattice.cell_x.take(x)
        table, corners = self.parent.locate(torch.add(*self.lattice.corners.at(*cell)))
        return weighted_rows(table, corners, torch.mul(*self.lattice.weights.at(y, x)))


def weighted_rows(table: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Sums of weighted rows of a table: (R, C), (P, n), (P, n) -> (P, C)."""
    # One pass over memory, where indexing, multiplying and adding take three and n times the space.
    return F.embedding_bag(index, table, per_sample_weights=weights, mode="sum")


def portions(count: int, at_once: int, device: torch.device) -> list[slice]:
    """Cut a count of things into parts, one at least, for the sake of a CPU's cache.

    A GPU would rather have them all at once, and does.
    """
    if device.type != "cpu":
        return [slice(0, count)]
    return [slice(start, start + at_once) for start in range(0, max(count, 1), at_once)]
