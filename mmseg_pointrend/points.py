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
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError

UNCERTAINTIES = ("margin", "prob_margin")
# Pixels of a map that are classified at a time: so many fit a CPU's cache.
PIXELS_AT_ONCE = 1 << 17
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
    """Read maps at points, bilinearly.

    The same as :func:`torch.nn.functional.grid_sample` with zeros outside of the map, but only the
    four neighbors of each point are touched: half precision and channels_last maps are read as they
    lie, where grid_sample under autocast first copies the whole map to float32.

    Args:
        maps (Tensor): Feature maps or logits, (B, C, H, W), any floating-point type and layout.
        coords (Tensor): Points, (B, N, 2); see the module's notes. Points beyond the outermost
            pixel centers fade to zero within one pixel.
        align_corners (bool): Whether 0 and 1 are the centers of the corner pixels, not the edges of
            the image. Defaults to False.

    Returns:
        Tensor: The values at the points, (B, C, N), of the maps' dtype. Differentiable in the maps.
    """
    index, weights = point_neighbors(coords, tuple(maps.shape[-2:]), align_corners)
    if maps.device.type == "cpu" and not torch.compiler.is_compiling():
        table, index = rows_at(maps, index)
        values = F.embedding_bag(
            index.flatten(0, 1),
            table,
            per_sample_weights=weights.flatten(0, 1).to(table.dtype),
            mode="sum",
        ).unflatten(0, coords.shape[:2])
        return values.to(maps.dtype).transpose(1, 2)
    batch = torch.arange(maps.shape[0], device=maps.device).unsqueeze(1)
    # All neighbors at once: each reading of its own would have a gradient as large as the maps.
    neighbors = index.flatten(1)
    row = torch.div(neighbors, maps.shape[-1], rounding_mode="floor")
    col = neighbors - row * maps.shape[-1]
    # (B, N, 4, C): rows of memory where the map is channels_last
    values = maps[batch, :, row, col].unflatten(1, index.shape[1:])
    values = (values * weights.unsqueeze(-1)).sum(dim=2)
    return values.to(maps.dtype).transpose(1, 2)


def rows_at(maps: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels of maps as rows of a table.

    Channels_last maps are the table; of others, which are slow to read, each pixel is read once.

    Args:
        maps (Tensor): (B, C, H, W), any floating-point type and layout.
        pixels (Tensor): Flat, row-major indices of pixels, (B, ...), int64.

    Returns:
        tuple[Tensor, Tensor]: The table, (R, C), of single precision at least, and the pixels' rows
        in it, of the shape of ``pixels``, int64 or int32.
    """
    batch, channels, height, width = maps.shape
    first = height * width * torch.arange(batch, device=maps.device)
    pixels = pixels + first.view(-1, *[1] * (pixels.dim() - 1))
    dtype = torch.promote_types(maps.dtype, torch.float32)
    if maps.dtype == dtype and maps.is_contiguous(memory_format=torch.channels_last):
        return maps.permute(0, 2, 3, 1).reshape(-1, channels), pixels
    number = torch.empty(batch * height * width, dtype=torch.int32, device=maps.device)
    read = distinct(pixels.flatten(), number)
    row = torch.div(read, width, rounding_mode="floor")
    image = torch.div(row, height, rounding_mode="floor")
    if batch == 1 and maps.is_contiguous():
        # A channel at a time: neighboring pixels share a line of the cache.
        table = maps[0].flatten(1).index_select(1, read).t().contiguous()
    else:
        table = maps[image, :, row - image * height, read - row * width]
    return table.to(dtype), number.take(pixels)


def distinct(pixels: Tensor, number: Tensor) -> Tensor:
    """Each of (P,) pixels once, without sorting; in ``number``, which has an int32 for each pixel
    there is, those at ``pixels`` become their places in the result."""
    places = torch.arange(len(pixels), dtype=torch.int32, device=pixels.device)
    # Of those that are the same pixel one's place stays, whichever; it speaks for the others.
    number.scatter_(0, pixels, places)
    pixels = pixels.masked_select(number.take(pixels) == places)
    number.scatter_(0, pixels, places[: len(pixels)])
    return pixels


def point_neighbors(
    coords: Tensor, size: tuple[int, int], align_corners: bool = False
) -> tuple[Tensor, Tensor]:
    """The four pixels of an (H, W) map that (..., 2) points are read from, bilinearly.

    Returns:
        tuple[Tensor, Tensor]: Flat, row-major indices of the pixels, (..., 4), int64, and their
        weights, (..., 4), float32. A pixel outside of the map has the weight zero.
    """
    height, width = size
    row, row_weights = axis_neighbors(coords[..., 1], height, align_corners)
    col, col_weights = axis_neighbors(coords[..., 0], width, align_corners)
    index = row.unsqueeze(-1) * width + col.unsqueeze(-2)
    weights = row_weights.unsqueeze(-1) * col_weights.unsqueeze(-2)
    return index.flatten(-2), weights.flatten(-2)


def axis_neighbors(
    coord: Tensor, length: int, align_corners: bool = False
) -> tuple[Tensor, Tensor]:
    """The two pixels of an axis of a map that a coordinate is read from, linearly.

    Returns:
        tuple[Tensor, Tensor]: The pixels, (..., 2), int64, and their weights, (..., 2), float32. A
        pixel outside of the map has the weight zero.
    """
    coord = coord.to(torch.promote_types(coord.dtype, torch.float32))
    position = to_pixels(coord, length, align_corners)
    low = position.floor()
    pixel = torch.stack((low, low + 1), dim=-1)
    inside = (pixel >= 0) & (pixel < length)
    weight = (1 - (position.unsqueeze(-1) - pixel).abs()) * inside
    return pixel.clamp(0, length - 1).long(), weight


def point_labels(labels: Tensor, coords: Tensor, align_corners: bool = False) -> Tensor:
    """Read label maps at points: the label of the pixel that a point lies in.

    Args:
        labels (Tensor): Class indices, (B, H, W), any integer type.
        coords (Tensor): Points, (B, N, 2).
        align_corners (bool): As in :func:`point_sample`. Defaults to False.

    Returns:
        Tensor: Labels, (B, N), of the dtype of ``labels``.
    """
    height, width = labels.shape[-2:]
    col = to_pixels(coords[..., 0], width, align_corners).round().clamp(0, width - 1).long()
    row = to_pixels(coords[..., 1], height, align_corners).round().clamp(0, height - 1).long()
    return labels.flatten(1).gather(1, row * width + col)


def cell_coords(index: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Coordinates of the centers of grid cells.

    Args:
        index (Tensor): Flat, row-major cell indices of an (H, W) grid, int64, any shape.
        size (tuple[int, int]): (H, W) of the grid.
        align_corners (bool): As in :func:`point_sample`. Defaults to False.

    Returns:
        Tensor: (x, y) of each cell, float32, the shape of ``index`` with 2 appended.
    """
    height, width = size
    row = torch.div(index, width, rounding_mode="floor")
    col = index - row * width  # not index % width, which has no ONNX form for a symbolic width
    return torch.stack(
        (from_pixels(col, width, align_corners), from_pixels(row, height, align_corners)), dim=-1
    )


def top2_margin(logits: Tensor, dim: int = 1) -> Tensor:
    """Gap between the two largest logits: zero on a decision boundary.

    Args:
        logits (Tensor): Logits or probabilities with the classes along ``dim``. A single class is
            the logit of a sigmoid, whose boundary is at zero: its margin is the absolute value.
        dim (int): The class dimension, which the result lacks. Defaults to 1.

    Returns:
        Tensor: Margins >= 0, e.g. (B, H, W) for logits of (B, C, H, W).
    """
    first, *others = logits.unbind(dim)
    if not others:
        return first.abs()
    # A running maximum and runner-up: topk(k=2) sorts every pixel on its own and is many times
    # slower.
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
    if not callable(uncertainty) and uncertainty not in UNCERTAINTIES:
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
            one channel both names mean the absolute logit, as they order points alike. Defaults to
            'margin'.

    Returns:
        Tensor: Margins, (B, N). Those of the two names are >= 0, and zero on a decision boundary.
    """
    if callable(uncertainty):
        return -uncertainty(logits)
    if uncertainty == "prob_margin" and logits.shape[1] > 1:
        logits = logits.softmax(dim=1)
    return top2_margin(logits)


def prob_margin_bound(bound: Tensor, channels: int) -> Tensor:
    """Lower bounds of probability margins from those of logit margins; negative ones stay so."""
    if channels == 1:
        return bound  # which margins() takes for both names
    ratio = torch.exp(-bound)
    return (1 - ratio) / (1 + (channels - 1) * ratio)


def stride16_cells(size: Sequence[int]) -> int:
    """Number of cells, at least one, of the stride-16 map of an image of ``size`` = (H, W)
    pixels."""
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
