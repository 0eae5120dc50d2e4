"""Geometry of points on dense maps, and the margin of a prediction at a point.

Shapes in this package:
    B: images in the batch     C: classes (channels of the logits)     N: points of an image
    D: channels of features    H, W: height and width of a map

Coordinates are (x, y), float32, in [0, 1] over the image; the center of pixel i of a row of n
pixels lies at (i + 0.5) / n. With ``align_corners=True`` they follow the convention of
:func:`torch.nn.functional.grid_sample` instead: the corner pixels' centers lie at 0 and 1. Whatever
reads a map must use the flag that the map was upsampled with, or it reads beside the points.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError

UNCERTAINTIES = ("margin", "prob_margin")
# The name of a margin, or a function from (B, C, N) logits to (B, N) uncertainties.
Uncertainty = str | Callable[[Tensor], Tensor]


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
        table, index = _rows_at(maps, index)
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


def _rows_at(maps: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """A table of pixels, (R, C), of at least single precision, and the rows of (B, ...) pixels."""
    pixels = maps.shape[-2] * maps.shape[-1]
    first = pixels * torch.arange(len(maps)).view(-1, *[1] * (index.dim() - 1))
    index = index + first
    single = torch.promote_types(maps.dtype, torch.float32)
    if maps.dtype == single and maps.is_contiguous(memory_format=torch.channels_last):
        return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]), index
    # Channels-first maps are slow to read: read each pixel once.
    is_read = torch.zeros(len(maps) * pixels, dtype=torch.bool)
    is_read[index.flatten()] = True
    read = is_read.nonzero().squeeze(1)
    image = torch.div(read, pixels, rounding_mode="floor")
    table = maps.flatten(2)[image, :, read - image * pixels]
    return table.to(single), (is_read.cumsum(0) - 1).take(index)


def point_neighbors(
    coords: Tensor, size: tuple[int, int], align_corners: bool = False
) -> tuple[Tensor, Tensor]:
    """The four pixels of a map that a point is read from, bilinearly.

    Args:
        coords (Tensor): Points, (..., 2).
        size (tuple[int, int]): (H, W) of the map.
        align_corners (bool): As in :func:`point_sample`. Defaults to False.

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

    Args:
        coord (Tensor): Coordinates, any shape.
        length (int): Number of pixels of the axis.
        align_corners (bool): As in :func:`point_sample`. Defaults to False.

    Returns:
        tuple[Tensor, Tensor]: The pixels, (..., 2), int64, and their weights, (..., 2), float32. A
        pixel outside of the map has the weight zero.
    """
    coord = coord.to(torch.promote_types(coord.dtype, torch.float32))
    position = _to_pixels(coord, length, align_corners)
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
    col = _to_pixels(coords[..., 0], width, align_corners).round().clamp(0, width - 1).long()
    row = _to_pixels(coords[..., 1], height, align_corners).round().clamp(0, height - 1).long()
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
        (_from_pixels(col, width, align_corners), _from_pixels(row, height, align_corners)), dim=-1
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


def stride16_cells(size: Sequence[int]) -> int:
    """Number of cells, at least one, of the stride-16 map of an image of ``size`` = (H, W)
    pixels."""
    height, width = size
    return max(1, (height // 16) * (width // 16))


def _to_pixels(coord: Tensor, length: int, align_corners: bool) -> Tensor:
    return coord * (length - 1) if align_corners else coord * length - 0.5


def _from_pixels(index: Tensor, length: int, align_corners: bool) -> Tensor:
    if align_corners:
        return index.float() / max(length - 1, 1)
    return (index.float() + 0.5) / length
