"""Rendering of full-resolution labels at the cost of their boundaries.

The labels are those of :class:`~mmseg_pointrend.rendering.DenseRenderer`, at every pixel; only the
work is less. Each step of that renderer interpolates the logits of a finer grid and re-labels its N
least certain pixels. Nearly all of the grid is neither near a boundary nor among the N. This is how
to tell which part of it, without a look at its logits.

*A cell whose four corners agree is settled.* A pixel between four pixels of the coarser grid is a
convex combination of them. Let k be the largest logit at all four, by a margin of at least m. For
any other class j each corner has x_k - x_j >= m, and so has every combination of them: the pixels
inside have label k and a margin of at least m. The smallest margin of the corners is a bound, from
below, of the margins inside. A pixel that was not looked up passes its bound on to the next grid.

*N least certain pixels are enough.* Look up the pixels of all mixed cells, those whose corners
disagree; their labels are not known otherwise. If these are fewer than N, add the cells with the
smallest bounds, one for each pixel that is missing. Let tau be the N-th smallest margin found. No
pixel of a cell with a bound of at least tau can be among the N least certain; look up the cells
with a bound below tau. The N smallest of all margins found are the N smallest there are: tau could
only have become smaller.

*Logits are looked up, not kept.* A pixel's logits are those of the point head, or else interpolate
four pixels of the coarser grid, which are found in the same way (:mod:`.grids`). The only maps of a
grid's full size are its labels and its bounds.

If the N pixels with the smallest gap between class *probabilities* are wanted, a margin of m
between logits bounds that gap from below by (1 - e^-m) / (1 + (C - 1) e^-m). One channel, the logit
x of a sigmoid, has the margin abs(x); its cells are settled if neither zero nor the threshold lies
between the corners' logits. A resize at the end is one more step, without points.

If most cells are mixed - logits of noise, or a first grid that is hardly larger than N - looking up
single pixels costs more than it saves, and the grid is interpolated as a whole.

A pixel's *region* is its label. With one channel the logit's sign counts for the margin and its
sigmoid for the label: they divide the real line into three regions.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmseg.registry import TASK_UTILS
from torch import Tensor

from ..errors import InputError
from ..points import cell_coords, margins
from .dense import DenseRenderer, PointHead, resize
from .grids import FinerGrid, MapGrid, Window

# From this share of the cells on, a grid is interpolated as a whole.
DENSE_SHARE = 0.25
# Pixels of a map that are classified, and points that are labeled, at a time: what is at work then
# fits a CPU's cache.
PIXELS_AT_ONCE, POINTS_AT_ONCE = 1 << 17, 2048
# The bound of a cell whose corners differ in their region, below that of any other cell.
MIXED = -1.0


class Step(NamedTuple):
    """A step of the rendering."""

    size: tuple[int, int]  # (height, width) of the finer grid
    num_points: int = 0  # how many of its pixels the point head labels
    window: Window | None = None  # the part of the coarser grid to enlarge, all of it if None


class Found(NamedTuple):
    """Pixels whose logits were looked up."""

    pixels: Tensor  # flat indices, (P,), int64
    region: Tensor  # (P,)
    margin: Tensor  # gaps between the two largest logits, (P,)
    score: Tensor  # margins in terms of ``uncertainty``, which points are picked by, (P,)

    def join(self, other: "Found") -> "Found":
        return Found(*map(torch.cat, zip(self, other, strict=True)))


@TASK_UTILS.register_module()
class SparseRenderer:
    """Coarse-to-fine rendering of labels, without logits where there is no boundary.

    The labels are those that the logits of a :class:`DenseRenderer` with the same settings have;
    see this module for why. Pixels whose two largest logits differ by no more than rounding errors
    are free to differ. With a function as ``uncertainty``, of which nothing is known between
    pixels, the labels are taken from the logits of the dense renderer.

    Args:
        *args: As of :class:`DenseRenderer`.
        threshold (float): Threshold on the sigmoid of a one-channel model; :class:`PointRendHead`
            passes its own. Defaults to 0.3, as in MMSegmentation.
        **kwargs: As of :class:`DenseRenderer`.

    Attributes:
        dense (DenseRenderer): The renderer of logits with the same settings.
    """

    def __init__(self, *args: Any, threshold: float = 0.3, **kwargs: Any) -> None:
        self.dense = DenseRenderer(*args, **kwargs)
        self.threshold = threshold

    @classmethod
    def like(cls, dense: DenseRenderer, threshold: float | None = None) -> "SparseRenderer | None":
        """Build a renderer of the labels that ``dense`` gives with ``threshold``, by default 0.3.

        Returns:
            SparseRenderer | None: The renderer, or None if ``dense`` renders in a way of its own:
            it is no DenseRenderer, or its class overrides ``__call__`` or ``steps``.
        """
        methods = ("__call__", "steps")
        if any(getattr(type(dense), m, None) is not getattr(DenseRenderer, m) for m in methods):
            return None
        renderer = cls() if threshold is None else cls(threshold=threshold)
        renderer.dense = dense
        return renderer

    @torch.no_grad()
    def __call__(
        self,
        coarse_logits: Tensor,
        fine_features: Tensor | Sequence[Tensor],
        point_head: PointHead,
        size: tuple[int, int],
        window: Window | None = None,
        output_size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Render labels.

        Args:
            coarse_logits (Tensor): As of :class:`DenseRenderer`; half precision becomes float32.
            fine_features (Tensor | Sequence[Tensor]): As of :class:`DenseRenderer`, any
                floating-point type and layout.
            point_head (Callable): As of :class:`DenseRenderer`; called with parts of an image's
                points.
            size (tuple[int, int]): (H, W) to render, at least that of the coarse map.
            window (Window, optional): Part of the rendering to keep, such as all but the padding.
                Defaults to None: all of it.
            output_size (tuple[int, int], optional): (height, width) that the logits of the window
                are resized to, bilinearly, as MMSegmentation does to get back to the original
                image. Defaults to None: as they are.

        Returns:
            Tensor: Labels, (B, H, W), int64.

        Raises:
            InputError: If ``size`` is smaller than the coarse map, or logits are NaN or infinite.
        """
        levels = [fine_features] if isinstance(fine_features, Tensor) else list(fine_features)
        _check_finite(coarse_logits, "coarse logits")
        if coarse_logits.dtype not in (torch.float32, torch.float64):
            coarse_logits = coarse_logits.float()
        window = Window(0, 0, *size) if window is None else Window(*window)
        output_size = window[2:] if output_size is None else tuple(output_size)
        if callable(self.dense.uncertainty):
            logits = window.of(self.dense(coarse_logits, levels, point_head, size))
            logits = resize(logits, output_size, self.dense.align_corners)
            _check_finite(logits, "rendered logits")
            regions = [classify_map(maps, self.threshold)[0] for maps in logits]
        else:
            steps = self._steps(tuple(coarse_logits.shape[-2:]), tuple(size), window, output_size)
            images = zip(coarse_logits, *levels, strict=True)
            regions = [self._render(maps, fine, point_head, steps) for maps, *fine in images]
        labels = torch.stack(regions)
        if coarse_logits.shape[1] == 1:
            labels = labels > (0 if self.threshold < 0.5 else 1)
        return labels.long()

    def _steps(
        self,
        coarse: tuple[int, int],
        size: tuple[int, int],
        window: Window,
        output_size: tuple[int, int],
    ) -> list[Step]:
        subdivision = self.dense.subdivision
        steps = [
            Step(grid, subdivision.points(grid, size)) for grid in subdivision.sizes(coarse, size)
        ]
        if (steps[-1].size if steps else coarse) != size:
            steps.append(Step(size))
        if window != Window(0, 0, *size) or output_size != size:
            steps.append(Step(output_size, window=window))
        return steps

    def _render(
        self, coarse: Tensor, levels: Sequence[Tensor], point_head: PointHead, steps: list[Step]
    ) -> Tensor:
        """Regions of one image, (H, W)."""
        grid: MapGrid | FinerGrid = MapGrid(coarse)
        region, bound = classify_map(coarse, self.threshold)
        for step in steps:
            # Nobody asks for the bounds and the logits of the last grid.
            is_last = step is steps[-1]
            grid = FinerGrid(grid, step.size, self.dense.align_corners, coarse, step.window)
            cells = bound_cells(grid.window.of(region), grid.window.of(bound))
            found = self._find(grid, cells[1], step.num_points)
            if found is None:
                grid = MapGrid(grid.full())
                region, bound = classify_map(grid.maps, self.threshold)
                points = self._least(self._score(grid.maps, bound).flatten(), step.num_points)
            else:
                region = grid.spread(cells[0])
                bound = None if is_last else grid.spread(cells[1])
                _put(region, found.pixels, found.region)
                _put(bound, found.pixels, found.margin)
                points = found.pixels[self._least(found.score, step.num_points)]
            if len(points):
                points = points.sort().values
                rows = self._label(points, step.size, coarse, levels, point_head)
                new_region, margin = classify_rows(rows, self.threshold)
                _put(region, points, new_region)
                _put(bound, points, margin)
                if not is_last:
                    grid.put(points, rows)
        return region

    def _find(self, grid: FinerGrid, bound: Tensor, num_points: int) -> Found | None:
        """Look up the pixels of mixed cells and, among others, the ``num_points`` least certain
        pixels; None if they are so many that looking them up does not pay."""
        channels = grid.channels
        if self._uses_probabilities(channels):
            bound = prob_margin_bound(bound, channels)
        bound = bound.flatten().clone()
        bound[grid.empty_cells()] = math.inf
        at_most = int(DENSE_SHARE * len(bound))
        limit = math.inf if self.dense.min_margin is None else self.dense.min_margin

        cells = (bound < 0).nonzero().squeeze(1)
        if len(cells) > at_most:
            return None
        found = self._look_up(grid, cells)
        if num_points == 0:
            return found
        bound[cells] = math.inf
        missing = num_points - len(found.pixels)
        if missing > 0:
            if missing > at_most:
                return None
            # each has a pixel at least
            cells = bound.topk(missing, largest=False, sorted=False).indices
            found = found.join(self._look_up(grid, cells[bound[cells] < limit]))
            bound[cells] = math.inf
        score = found.score[found.score < limit]
        if len(score) >= num_points:
            # not kthvalue, which has no deterministic way on GPUs
            limit = score.topk(num_points, largest=False, sorted=False).values.max()
        cells = (bound < limit).nonzero().squeeze(1)
        if len(cells) > at_most:
            return None
        return found.join(self._look_up(grid, cells))

    def _look_up(self, grid: FinerGrid, cells: Tensor) -> Found:
        """Look up the pixels that lie in some cells, flat indices, (K,)."""
        pixels = grid.pixels_in(cells)
        parts = []
        for rows in grid.interpolate(pixels):
            region, margin = classify_rows(rows, self.threshold)
            parts.append((region, margin, self._score(rows.t(), margin)))
        return Found(pixels, *map(torch.cat, zip(*parts, strict=True)))

    def _score(self, logits: Tensor, margin: Tensor) -> Tensor:
        """What points are picked by, of (C, ...) logits with that ``margin``, (...)."""
        if self._uses_probabilities(len(logits)):
            return margins(logits.unsqueeze(0), self.dense.uncertainty).squeeze(0)
        return margin

    def _uses_probabilities(self, channels: int) -> bool:
        return self.dense.uncertainty == "prob_margin" and channels > 1

    def _least(self, score: Tensor, num_points: int) -> Tensor:
        """Indices of the points among (P,) pixels."""
        points = score.topk(min(num_points, len(score)), largest=False, sorted=False).indices
        if self.dense.min_margin is not None:
            points = points[score[points] < self.dense.min_margin]
        return points

    def _label(
        self,
        points: Tensor,
        size: tuple[int, int],
        coarse: Tensor,
        levels: Sequence[Tensor],
        point_head: PointHead,
    ) -> Tensor:
        """Logits of the point head, (N, C), at pixels of a grid of ``size``."""
        coords = cell_coords(points, size, self.dense.align_corners).unsqueeze(0)
        coarse, levels = coarse.unsqueeze(0), [level.unsqueeze(0) for level in levels]
        at_once = POINTS_AT_ONCE if coords.device.type == "cpu" else len(points)
        parts = [
            point_head(*self.dense.point_features(levels, coarse, part)).squeeze(0).t()
            for part in coords.split(at_once, dim=1)
        ]
        rows = torch.cat(parts).to(coarse.dtype)
        _check_finite(rows, "logits of the point head")
        return rows


def classify_map(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Regions, of the smallest type that holds them, and margins, (H, W), of (C, H, W) logits."""
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


def bound_cells(region: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """Regions and bounds of cells, (h + 1, w + 1), from those of pixels, their corners, (h, w).

    A bound is :data:`MIXED` if the corners differ in their region, which then is the upper left
    one's.
    """
    region, bound = _surround(region), _surround(bound)
    bound = torch.minimum(bound[:, :-1], bound[:, 1:])
    bound = torch.minimum(bound[:-1], bound[1:])
    same_in_row = region[:, :-1] == region[:, 1:]
    same = same_in_row[:-1] & same_in_row[1:] & (region[:-1, :-1] == region[1:, :-1])
    return region[:-1, :-1], torch.where(same, bound, MIXED)


def prob_margin_bound(bound: Tensor, channels: int) -> Tensor:
    """Bounds of probability margins from those of logit margins. :data:`MIXED` stays negative."""
    ratio = torch.exp(-bound)
    return (1 - ratio) / (1 + (channels - 1) * ratio)


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


def _surround(values: Tensor) -> Tensor:
    """Add copies of the border to (h, w) values."""
    values = torch.cat((values[:1], values, values[-1:]))
    return torch.cat((values[:, :1], values, values[:, -1:]), dim=1)


def _put(values: Tensor | None, pixels: Tensor, new: Tensor) -> None:
    """Write (P,) new values into a map, if there is one."""
    if values is not None:
        values.view(-1).scatter_(0, pixels, new)


def _check_finite(logits: Tensor, name: str) -> None:
    # No sum that has a NaN or an infinity in it is finite; a sum of finite ones may still overflow.
    if not logits.sum().isfinite() and not logits.isfinite().all():
        raise InputError(
            f"The {name} must be finite, got {logits.isnan().sum()} NaN and "
            f"{logits.isinf().sum()} infinite of {logits.numel()}; look for a diverged training or "
            "an overflow in half precision."
        )
