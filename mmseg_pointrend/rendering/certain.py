"""What the margins of a few pixels say about all those between them.

A pixel is known by its region and its margin. The region is its label, and the margin the gap
between its two largest logits. With one channel the logit's sign counts for the margin and its
sigmoid for the label: they part the real line into three regions.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Pixels of a map that are classified at a time: what of them is at work fits the cache.
BLOCK = 1 << 17
# The bound of a cell whose pixels may have different labels, below that of any other cell.
MIXED = -1.0


class Certainty(NamedTuple):
    """Regions and margins of pixels, or of all pixels inside cells.

    Attributes:
        region (Tensor): Regions, the smallest integer type that holds them.
        margin (Tensor, optional): Margins or lower bounds of margins, floating point, the same
            shape. None where nobody will ask.
    """

    region: Tensor
    margin: Tensor | None

    def put(self, pixels: Tensor, known: "Certainty") -> None:
        """Write what is known of (P,) flat indices into maps."""
        for values, new in zip(self, known, strict=True):
            if values is not None:
                values.view(-1).scatter_(0, pixels, new)


def certain_map(logits: Tensor, threshold: float) -> Certainty:
    """Classify a map.

    Args:
        logits (Tensor): (C, H, W).
        threshold (float): Threshold on the sigmoid of one channel.

    Returns:
        Certainty: (H, W) regions and margins.
    """
    if len(logits) == 1:
        return _certain_binary(logits[0], threshold)
    rows = max(1, BLOCK // logits.shape[2])
    blocks = [_running_maxima(block) for block in logits.split(rows, dim=1)]
    return Certainty(*map(torch.cat, zip(*blocks, strict=True)))


def certain_rows(rows: Tensor, threshold: float) -> Certainty:
    """Classify (P, C) logits: (P,) regions and margins. See :func:`certain_map`."""
    channels = rows.shape[1]
    if channels == 1:
        return _certain_binary(rows[:, 0], threshold)
    best, label = rows.max(dim=1)
    second = rows.scatter(1, label.unsqueeze(1), -math.inf).amax(dim=1)
    return Certainty(label.to(_region_dtype(channels)), best - second)


def labels_of(region: Tensor, channels: int, threshold: float) -> Tensor:
    """Labels, of any type, of regions of logits with that many channels."""
    if channels > 1:
        return region
    return region > (0 if threshold < 0.5 else 1)


def cell_bounds(pixels: Certainty) -> Certainty:
    """Bound the margins inside the cells of a grid by those at their corners.

    Args:
        pixels (Certainty): The pixels of an (h, w) grid, or lower bounds of their margins.

    Returns:
        Certainty: The (h + 1, w + 1) cells; see :mod:`~mmseg_pointrend.rendering.lattice`. The
        margin is :data:`MIXED` where the corners differ in their region, which then is that of the
        upper left one.
    """
    region = _surround(pixels.region)
    margin = _surround(pixels.margin)
    margin = torch.minimum(margin[:, :-1], margin[:, 1:])
    margin = torch.minimum(margin[:-1], margin[1:])
    same_in_row = region[:, :-1] == region[:, 1:]
    same = same_in_row[:-1] & same_in_row[1:] & (region[:-1, :-1] == region[1:, :-1])
    return Certainty(region[:-1, :-1], torch.where(same, margin, MIXED))


def prob_margin_bound(margin: Tensor, channels: int) -> Tensor:
    """Bound the gap between the two largest class probabilities by that between their logits.

    Args:
        margin (Tensor): Lower bounds of logit margins.
        channels (int): Number of classes.

    Returns:
        Tensor: Lower bounds of probability margins, which are reached where all classes but the
        best tie. :data:`MIXED` stays negative.
    """
    ratio = torch.exp(-margin)
    return (1 - ratio) / (1 + (channels - 1) * ratio)


def _running_maxima(logits: Tensor) -> Certainty:
    """Classify (C, H, W) logits channel by channel; topk and argmax go pixel by pixel, which takes
    many times as long."""
    best = logits[0].clone()
    second = torch.full_like(best, -math.inf)
    region = torch.zeros(best.shape, dtype=_region_dtype(len(logits)), device=best.device)
    for label, other in enumerate(logits[1:], start=1):
        # labels ascend, so that the last one to win is the largest
        region = torch.maximum(region, (other > best).to(region.dtype).mul_(label))
        second = torch.maximum(second, torch.minimum(best, other))
        best = torch.maximum(best, other)
    return Certainty(region, best - second)


def _certain_binary(logits: Tensor, threshold: float) -> Certainty:
    # Below both boundaries, between them, above both: an interval each, so that interpolation
    # between logits of a region stays inside.
    region = (logits > 0).byte() + (logits.sigmoid() > threshold).byte()
    return Certainty(region, logits.abs())


def _region_dtype(channels: int) -> torch.dtype:
    return torch.uint8 if channels <= 256 else torch.int32


def _surround(values: Tensor) -> Tensor:
    """Surround (h, w) values by copies of their border."""
    values = torch.cat((values[:1], values, values[-1:]))
    return torch.cat((values[:, :1], values, values[:, -1:]), dim=1)
