"""Geometry of points on dense maps, and the margin of a prediction at a point.

Shapes in this package:
    B: images in the batch     C: classes (channels of the logits)     N: points of an image
    D: channels of features    H, W: height and width of a map

Coordinates are (x, y), float32, in [0, 1] over the image; the center of pixel i of a row of n
pixels lies at (i + 0.5) / n. With ``align_corners=True`` they follow the convention of
:func:`torch.nn.functional.grid_sample` instead: the corner pixels' centers lie at 0 and 1. Whatever
reads a map must use the flag that the map was upsampled with, or it reads beside the points.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError

PIXELS_AT_ONCE = 1 << 17  # of a map, that are classified at a time: so many fit a CPU's cache
READ_ALL_SHARE = 0.25  # of a map's pixels; once these have been read, all of them are
# The name of a margin, or a function from (B, C, N) logits to (B, N) uncertainties.
Uncertainty = str | Callable[[Tensor], Tensor]


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


def point_sample(maps: Tensor, coords: Tensor, align_corners: bool = False) -> Tensor:
    """Read maps at points, bilinearly, as :func:`torch.nn.functional.grid_sample` does.

    Only the four neighbors of each point are touched: half precision and channels_last maps are
    read as they lie, where grid_sample under autocast first copies the whole map to float32.

    Args:
        maps (Tensor): Feature maps or logits, (B, C, H, W), any floating-point type and layout.
        coords (Tensor): Points, (B, N, 2); see the module's notes. Points beyond the outermost
            pixel centers fade to zero within one pixel.
        align_corners (bool): Whether 0 and 1 are the centers of the corner pixels, not the edges of
            the image. Defaults to False.

    Returns:
        Tensor: The values at the points, (B, C, N), of the maps' dtype. Differentiable in the maps.
    """
    row, down, in_rows = _pixels_around(coords[..., 1], maps.shape[2], 2, align_corners)
    col, right, in_cols = _pixels_around(coords[..., 0], maps.shape[3], 2, align_corners)
    return _weigh(maps, row, col, down * in_rows, right * in_cols).squeeze(2).transpose(1, 2)


def neighborhood_sample(maps: Tensor, coords: Tensor, align_corners: bool = False) -> Tensor:
    """Read maps at points and at their eight neighbors, bilinearly.

    The neighbors are a pixel of the map away, and no further than its outermost pixels' centers.
    Takes the arguments of :func:`point_sample`. Returns the values, (B, N, 9, C), row by row, of
    the maps' dtype; differentiable in the maps.
    """
    row, down, _ = _pixels_around(coords[..., 1], maps.shape[2], 4, align_corners)
    col, right, _ = _pixels_around(coords[..., 0], maps.shape[3], 4, align_corners)
    return _weigh(maps, row, col, down, right)


def _pixels_around(
    coord: Tensor, length: int, count: int, align_corners: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` pixels around points on an axis, int64, (..., count), the outermost in place of
    those beyond it; the weights of the two in the middle, (..., 2); and which are on the axis."""
    coord = coord.to(torch.promote_types(coord.dtype, torch.float32))
    position = to_pixels(coord, length, align_corners)
    low = position.floor()
    pixel = low.unsqueeze(-1) + torch.arange(1 - count // 2, 1 + count // 2, device=coord.device)
    nearest = pixel.clamp(0, length - 1)
    weights = torch.stack((low + 1 - position, position - low), dim=-1)
    return nearest.long(), weights, nearest == pixel


def _weigh(maps: Tensor, row: Tensor, col: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Weighted sums of 2x2 pixels, (B, N, G, C), from K rows and columns, (B, N, K), and the
    weights of two, (B, N, 2). G = (K - 1)^2: each square of four has the same weights."""
    batch, _, height, width = maps.shape
    image = torch.arange(batch, device=maps.device).unsqueeze(1)
    index = ((row * width).unsqueeze(-1) + col.unsqueeze(-2)).flatten(-2)
    weights = (down.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2).unsqueeze(2)
    count = row.shape[-1]
    corners = torch.arange(count * count, device=maps.device).view(count, count)
    corners = corners.unfold(0, 2, 1).unfold(1, 2, 1).flatten()
    if maps.device.type == "cpu" and not torch.compiler.is_compiling():
        pixels = getattr(maps, "rows", None) or MapRows(maps)
        table, place = pixels.locate(index + image.unsqueeze(2) * (height * width))
        place = place.index_select(2, corners).unflatten(2, (-1, 4))
        weights = weights.to(table.dtype).expand_as(place)
        values = F.embedding_bag(
            place.flatten(0, 2), table, per_sample_weights=weights.flatten(0, 2), mode="sum"
        ).unflatten(0, place.shape[:3])
    else:
        # All neighbors at once: each reading of its own would have a gradient as large as the maps.
        flat = index.flatten(1)
        line = torch.div(flat, width, rounding_mode="floor")
        # (B, N, K * K, C): rows of memory where the map is channels_last
        values = maps[image, :, line, flat - line * width].unflatten(1, index.shape[1:])
        values = values[:, :, corners].unflatten(2, (-1, 4))
        values = (values * weights.unsqueeze(-1)).sum(dim=-2)
    return values.to(maps.dtype)


class PixelRows:
    """``count`` pixels, each an index, int64, as rows of a table, read when they are asked for,
    once. ``table`` is an empty one, (0, C), of the device and dtype of the rows."""

    def __init__(self, count: int, table: Tensor) -> None:
        self.count = count
        self.table = self._space = table

    def read(self, pixels: Tensor) -> Tensor:
        """Rows, (P, C), of (P,) distinct pixels."""
        raise NotImplementedError

    @cached_property
    def row_of(self) -> Tensor:
        """Row of each pixel in the table, (count,), int32, negative if there is none."""
        return torch.full((self.count,), -1, dtype=torch.int32, device=self.table.device)

    def locate(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The table, (R, C), and the rows of some pixels in it, of the pixels' shape."""
        row = self.row_of.take(pixels)
        missing = pixels.masked_select(row < 0)
        if len(missing):
            # Of those that are the same pixel one's place stays, whichever; no sorting.
            place = torch.arange(len(missing), dtype=torch.int32, device=missing.device)
            self.row_of.scatter_(0, missing, place)
            missing = missing.masked_select(self.row_of.take(missing) == place)
            self.put(missing, self.read(missing))
            row = self.row_of.take(pixels)
        return self.table, row

    def put(self, pixels: Tensor, rows: Tensor) -> None:
        """Add (P, C) rows of (P,) distinct pixels, in place of any that they had."""
        first, end = len(self.table), len(self.table) + len(rows)
        row = torch.arange(first, end, dtype=torch.int32, device=rows.device)
        self.row_of.scatter_(0, pixels, row)
        if first == 0:
            self._space = rows
        elif end <= len(self._space):
            self._space[first:end] = rows
        else:  # room for more, lest each time all rows move
            room = rows.new_empty(end // 2, rows.shape[1])
            self._space = torch.cat((self.table, rows, room))
        self.table = self._space[:end]


class MapRows(PixelRows):
    """The pixels of maps, (B, C, H, W), of any floating-point type and layout, counted over images,
    rows and columns; their rows are of single precision at least."""

    def __init__(self, maps: Tensor) -> None:
        self.pixels_last = maps.permute(0, 2, 3, 1)
        self.dtype = torch.promote_types(maps.dtype, torch.float32)
        count = self.pixels_last.shape[:3].numel()
        super().__init__(count, maps.new_empty(0, maps.shape[1], dtype=self.dtype))
        self.is_whole = False
        if maps.dtype == self.dtype and self.pixels_last.is_contiguous():
            self._read_all()

    def _read_all(self) -> None:
        self.table = self._space = self.pixels_last.contiguous().flatten(0, 2).to(self.dtype)
        self.is_whole = True

    def locate(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        # Where many pixels were read before, one pass over the map is faster than one by one.
        if not self.is_whole and len(self.table) > READ_ALL_SHARE * self.count:
            self._read_all()
        return (self.table, pixels) if self.is_whole else super().locate(pixels)

    def read(self, pixels: Tensor) -> Tensor:
        batch, height, width, _ = self.pixels_last.shape
        if batch == 1:  # faster
            return self.pixels_last.flatten(0, 2).index_select(0, pixels).to(self.dtype)
        row = torch.div(pixels, width, rounding_mode="floor")
        image = torch.div(row, height, rounding_mode="floor")
        rows = self.pixels_last[image, row - image * height, pixels - row * width]
        return rows.to(self.dtype)


def read_once(maps: Tensor) -> Tensor:
    """Have :func:`point_sample` read each pixel of some maps once, however often it is called."""
    maps.rows = MapRows(maps)
    return maps


def point_labels(labels: Tensor, coords: Tensor, align_corners: bool = False) -> Tensor:
    """Read label maps, (B, H, W), of any integer type, at points: the labels, (B, N), of the pixels
    that they lie in. ``coords`` and ``align_corners`` are as of :func:`point_sample`."""
    height, width = labels.shape[-2:]
    col = to_pixels(coords[..., 0], width, align_corners).round().clamp(0, width - 1).long()
    row = to_pixels(coords[..., 1], height, align_corners).round().clamp(0, height - 1).long()
    return labels.flatten(1).gather(1, row * width + col)


def cell_coords(index: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Coordinates of the centers of cells of an (H, W) grid, float32, (..., 2), from their flat,
    row-major indices, (...), int64."""
    height, width = size
    row = torch.div(index, width, rounding_mode="floor")
    col = index - row * width  # not index % width, which has no ONNX form for a symbolic width
    return torch.stack(
        (from_pixels(col, width, align_corners), from_pixels(row, height, align_corners)), dim=-1
    )


def top2_margin(logits: Tensor, dim: int = 1) -> Tensor:
    """Gap between the two largest logits, or probabilities: zero on a decision boundary.

    The result lacks ``dim``, the dimension of the classes, by default 1. A single class is the
    logit of a sigmoid, whose margin is its absolute value.
    """
    first, *others = logits.unbind(dim)
    if not others:
        return first.abs()
    # topk(k=2) sorts every pixel on its own and is many times slower
    best, second = torch.maximum(first, others[0]), torch.minimum(first, others[0])
    for other in others[1:]:
        second = torch.maximum(second, torch.minimum(best, other))
        best = torch.maximum(best, other)
    return best - second


def classify_map(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Regions and margins, (H, W), of (C, H, W) logits.

    A pixel's region is its label, of the smallest type that holds it. With one channel the logit's
    sign counts for the margin and its sigmoid for the label: they divide the real line into three
    regions.
    """
    if len(logits) == 1:
        return _classify_binary(logits[0], threshold)
    rows = max(1, PIXELS_AT_ONCE // logits.shape[2])
    blocks = [_running_maxima(block) for block in logits.split(rows, dim=1)]
    region, margin = map(torch.cat, zip(*blocks, strict=True))
    return region, margin


def classify_rows(rows: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Regions and margins, (P,), of (P, C) logits; see :func:`classify_map`."""
    if rows.shape[1] == 1:
        return _classify_binary(rows[:, 0], threshold)
    best, label = rows.max(dim=1)
    second = rows.scatter(1, label.unsqueeze(1), -math.inf).amax(dim=1)
    return label.to(_region_dtype(rows.shape[1])), best - second


def _running_maxima(logits: Tensor) -> tuple[Tensor, Tensor]:
    # Channel by channel; topk and argmax go pixel by pixel, which takes many times as long.
    best = logits[0].clone()
    second = torch.full_like(best, -math.inf)
    region = torch.zeros(best.shape, dtype=_region_dtype(len(logits)), device=best.device)
    for label, other in enumerate(logits[1:], start=1):
        # labels ascend, so that the last one to win is the largest
        region = torch.maximum(region, (other > best).to(region.dtype).mul_(label))
        second = torch.maximum(second, torch.minimum(best, other))
        best = torch.maximum(best, other)
    return region, best - second


def _classify_binary(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    # Each region is an interval, so that interpolation between logits of a region stays inside.
    region = (logits > 0).byte() + (logits.sigmoid() > threshold).byte()
    return region, logits.abs()


def _region_dtype(channels: int) -> torch.dtype:
    return torch.uint8 if channels <= 256 else torch.int32


def check_uncertainty(uncertainty: Uncertainty) -> Uncertainty:
    """Return ``uncertainty`` if points can be picked by it, else raise an InputError."""
    if not callable(uncertainty) and uncertainty not in ("margin", "prob_margin"):
        raise InputError(
            "uncertainty must be 'margin', 'prob_margin' or a function from (B, C, N) logits to "
            f"(B, N) uncertainties, got {uncertainty!r}."
        )
    return uncertainty


def margins(logits: Tensor, uncertainty: Uncertainty = "margin") -> Tensor:
    """What points are picked by, the smallest first: minus the uncertainty of a prediction.

    Args:
        logits (Tensor): Logits, (B, C, N). One channel is the logit of a sigmoid.
        uncertainty (str | Callable): ``'margin'``, the gap between the two largest logits;
            ``'prob_margin'``, the gap between the two largest class probabilities; or a function
            from logits to uncertainties, (B, N), larger where a prediction is less certain. With
            one channel both names mean the absolute logit. Defaults to 'margin'.

    Returns margins, (B, N); those of the two names are >= 0, and zero on a decision boundary.
    """
    if callable(uncertainty):
        return -uncertainty(logits)
    if uncertainty == "prob_margin" and logits.shape[1] > 1:
        logits = logits.softmax(dim=1)
    return top2_margin(logits)


def stride16_cells(size: Sequence[int]) -> int:
    """Number of cells, at least one, of the stride-16 map of an image of ``size`` = (H, W)."""
    height, width = map(as_length, size)
    return torch.sym_max(1, (height // 16) * (width // 16))


def as_length(length: int | torch.SymInt | Tensor) -> int | torch.SymInt:
    """A side of a map, also where a tracer has it as a tensor."""
    return length if isinstance(length, torch.SymInt) else int(length)


def to_pixels(coord: Tensor, length: int, align_corners: bool = False) -> Tensor:
    """Positions in pixels of coordinates on an axis of ``length`` pixels; centers are whole."""
    return coord * (length - 1) if align_corners else coord * length - 0.5


def from_pixels(position: Tensor, length: int, align_corners: bool = False) -> Tensor:
    """The inverse of :func:`to_pixels`; single precision at least."""
    position = position.to(torch.promote_types(position.dtype, torch.float32))
    if align_corners:
        return position / max(length - 1, 1)
    return (position + 0.5) / length
