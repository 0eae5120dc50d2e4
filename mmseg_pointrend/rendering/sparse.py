"""Rendering of full-resolution labels at the cost of their boundaries.

The labels are those of :class:`~mmseg_pointrend.rendering.DenseRenderer`. Each of its steps
interpolates the logits of a finer grid and re-labels its N least certain pixels. Most pixels are
neither near a boundary nor among the N. This is how to tell which, without their logits.

*A cell whose four corners agree is settled.* A pixel is a convex combination of four pixels of the
coarser grid. If k is the largest logit at all four, by a margin x_k - x_j >= m over any class j, so
it is for every combination of them. So the smallest margin of the corners is a lower bound of
the margins inside. A pixel that was not looked up passes its bound on to the next grid.

*N least certain pixels are enough.* Look up the pixels of all mixed cells, those whose corners
disagree. If these are fewer than N, add the cells with the smallest bounds, one for each pixel that
is missing. Let tau be the N-th smallest margin found; then look up the cells with a bound below
tau, as no other can have one of the N least certain pixels.

*Logits are looked up, not kept.* A pixel's logits are those of the point head, or interpolate four
pixels of the coarser grid, found in the same way (:mod:`.grids`). The only maps of a grid's full
size are its labels and its bounds.

A margin of m between logits bounds that between probabilities by (1 - e^-m) / (1 + (C - 1) e^-m).
A resize at the end is one more step, without points. If many cells are mixed, as in noise, looking
up single pixels costs more than it saves, and the grid is interpolated as a whole.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmseg.registry import TASK_UTILS
from torch import Tensor

from ..errors import InputError
from ..points import Window, cell_coords, classify_map, classify_rows, margins, read_once
from .dense import DenseRenderer, Levels, PointHead, resize
from .grids import FinerGrid, MapGrid
from .subdivision import Size

DENSE_SHARE = 0.25  # of the cells, from which on a grid is interpolated as a whole
POINTS_AT_ONCE = 2048  # that a CPU labels at a time: their hidden features fit its cache
MIXED = -1.0  # bound of a cell whose corners differ in their region, below that of any other


class Step(NamedTuple):
    """A step of the rendering."""

    size: tuple[int, int]  # (H, W) of the finer grid
    num_points: int = 0  # how many of its pixels the point head labels
    window: Window | None = None  # the part of the coarser grid to enlarge, all of it if None


class Found(NamedTuple):
    """Pixels whose logits were looked up."""

    pixels: Tensor  # flat indices, (P,), int64
    region: Tensor  # as of classify_rows, (P,)
    margin: Tensor
    score: Tensor  # margins in terms of ``uncertainty``, which points are picked by, (P,)

    def join(self, other: "Found") -> "Found":
        return Found(*map(torch.cat, zip(self, other, strict=True)))


@TASK_UTILS.register_module()
class SparseRenderer:
    """Coarse-to-fine rendering of labels, without logits where there is no boundary.

    The labels are those of ``dense``, the :class:`DenseRenderer` with these settings, but for
    pixels whose two largest logits differ by no more than rounding errors. With a function as
    ``uncertainty`` they are taken from its logits.

    Args:
        *args, **kwargs: As of :class:`DenseRenderer`.
        threshold (float): Threshold on the sigmoid of a one-channel model; :class:`PointRendHead`
            passes its own. Defaults to 0.3, as in MMSegmentation.
    """

    def __init__(self, *args: Any, threshold: float = 0.3, **kwargs: Any) -> None:
        self.dense = DenseRenderer(*args, **kwargs)
        self.threshold = threshold

    @classmethod
    def like(cls, dense: DenseRenderer, threshold: float | None = None) -> "SparseRenderer | None":
        """Build a renderer of the labels that ``dense`` gives with ``threshold``, by default 0.3;
        None if that is no DenseRenderer, or its class overrides ``__call__`` or ``steps``."""
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
        fine_features: Levels,
        point_head: PointHead,
        size: Size,
        window: Window | None = None,
        output_size: Size | None = None,
    ) -> Tensor:
        """Render labels, (B, H, W), int64. The point head gets parts of an image's points.

        Args:
            coarse_logits, fine_features, point_head, size: As of :class:`DenseRenderer`.
            window (Window, optional): Part of the rendering to keep, such as all but the padding.
                Defaults to None: all of it.
            output_size (tuple[int, int], optional): (H, W) that the logits of the window are
                resized to, bilinearly, before labels are taken. Defaults to None: not resized.

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

    def _steps(self, coarse: Size, size: Size, window: Window, output_size: Size) -> list[Step]:
        plan = self.dense.subdivision
        steps = [Step(grid, plan.points(grid, size)) for grid in plan.sizes(coarse, size)]
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
        batch, levels = grid.batch, [read_once(level.unsqueeze(0)) for level in levels]
        region, bound = classify_map(coarse, self.threshold)
        for step in steps:
            # Nobody asks for the bounds and the logits of the last grid.
            is_last = step is steps[-1]
            grid = FinerGrid(grid, step.size, self.dense.align_corners, coarse, step.window)
            region, bound = bound_cells(grid.window.of(region), grid.window.of(bound))
            found = self._find(grid, bound, step.num_points)
            if found is None:
                grid = MapGrid(grid.full())
                region, bound = classify_map(grid.full(), self.threshold)
                points = self._least(self._score(grid.full(), bound).flatten(), step.num_points)
            else:
                region = grid.spread(region)
                bound = None if is_last else grid.spread(bound)
                _put(region, found.pixels, found.region)
                _put(bound, found.pixels, found.margin)
                points = found.pixels[self._least(found.score, step.num_points)]
            if len(points):
                points = points.sort().values
                coords = cell_coords(points, step.size, self.dense.align_corners)
                rows = self._label(coords, batch, levels, point_head)
                new_region, margin = classify_rows(rows, self.threshold)
                _put(region, points, new_region)
                _put(bound, points, margin)
                if not is_last:
                    grid.put(points, rows)
        return region

    def _find(self, grid: FinerGrid, bound: Tensor, num_points: int) -> Found | None:
        """Look up the pixels of mixed cells and, among others, the ``num_points`` least certain
        pixels; None if they are so many that looking them up does not pay."""
        if self.dense.uncertainty == "prob_margin" and grid.channels > 1:
            ratio = torch.exp(-bound)
            bound = (1 - ratio) / (1 + (grid.channels - 1) * ratio)
        bound = bound.flatten().clone()
        bound[grid.empty_cells()] = math.inf
        at_most = int(DENSE_SHARE * len(bound))

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
            found = found.join(self._look_up(grid, cells[bound[cells] < math.inf]))
            bound[cells] = math.inf
        least = found.score[self._least(found.score, num_points)].max()
        cells = (bound < least).nonzero().squeeze(1)
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
        if self.dense.uncertainty == "margin":
            return margin
        return margins(logits.unsqueeze(0), self.dense.uncertainty).squeeze(0)

    def _least(self, score: Tensor, num_points: int) -> Tensor:
        """Indices of the points among (P,) pixels."""
        # not kthvalue, which has no deterministic way on GPUs
        return score.topk(num_points, largest=False, sorted=False).indices

    def _label(
        self, coords: Tensor, coarse: Tensor, levels: Sequence[Tensor], point_head: PointHead
    ) -> Tensor:
        """Logits of the point head, (N, C), at points of one image, (N, 2)."""
        at_once = POINTS_AT_ONCE if coords.device.type == "cpu" else len(coords)
        parts = [
            point_head(*self.dense.point_features(levels, coarse, part)).squeeze(0).t()
            for part in coords.unsqueeze(0).split(at_once, dim=1)
        ]
        rows = torch.cat(parts).to(coarse.dtype)
        _check_finite(rows, "logits of the point head")
        return rows


def bound_cells(region: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """Regions and bounds of cells, (h + 1, w + 1), from those of their corners, (h, w); the bound
    is MIXED where the corners differ in their region."""
    region, bound = _surround(region), _surround(bound)
    bound = torch.minimum(bound[:, :-1], bound[:, 1:])
    bound = torch.minimum(bound[:-1], bound[1:])
    same_in_row = region[:, :-1] == region[:, 1:]
    same = same_in_row[:-1] & same_in_row[1:] & (region[:-1, :-1] == region[1:, :-1])
    return region[:-1, :-1], torch.where(same, bound, MIXED)


def _surround(values: Tensor) -> Tensor:
    """Add copies of the border to (h, w) values."""
    values = torch.cat((values[:1], values, values[-1:]))
    return torch.cat((values[:, :1], values, values[:, -1:]), dim=1)


def _put(values: Tensor | None, pixels: Tensor, new: Tensor) -> None:
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
