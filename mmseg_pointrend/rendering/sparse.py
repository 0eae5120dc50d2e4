"""Rendering of full-resolution labels at the cost of their boundaries.

The labels are those of :class:`~mmseg_pointrend.rendering.DenseRenderer`, at every pixel; only the
work is another. Each step of that renderer interpolates the logits of a finer grid and re-labels
its N least certain pixels. Nearly all of the grid is neither near a boundary nor among the N, and
the following shows which part of it without a look at its logits.

*A cell with four like corners is settled.* A pixel between four pixels of the coarser grid is a
convex combination of them. Let k be the largest logit at all four, by a margin of at least m. For
any other class j each corner has x_k - x_j >= m, and so has every combination of them: the pixels
inside have label k and a margin of at least m. The smallest margin of the corners is a lower bound
of the margins inside, and what is known only by its bound passes a valid one on to the next grid.

*N least certain pixels are enough.* Interpolate the pixels of all mixed cells, those whose corners
differ; their labels are not known otherwise. If that makes less than N, add the N cells with the
smallest bounds. Let tau be the N-th smallest margin found. No pixel of a cell with a bound of at
least tau can be among the N least certain; interpolate the cells with a bound below tau. The N
smallest of all margins found are the N smallest there are: tau could only have become smaller.

*Logits are looked up, not kept.* A pixel's logits are those of the point head, or else interpolate
four pixels of the coarser grid, which are found in the same way (:mod:`.lookup`). The only maps of
a grid's full size are its labels and its bounds.

Where the N least certain pixels by the gap between class *probabilities* are wanted, a margin of m
between logits bounds that gap from below by (1 - e^-m) / (1 + (C - 1) e^-m). One channel, the logit
x of a sigmoid, has the margin abs(x); its cells are settled where neither zero nor the threshold
lies between the corners' logits. A resize at the end is one more step, without points.

Where most cells are mixed - logits of noise, or a first grid that is hardly larger than N - looking
up single pixels costs more than it saves, and the grid is interpolated as a whole.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmseg.registry import TASK_UTILS
from torch import Tensor

from ..errors import InputError
from ..points import margins
from .certain import (
    Certainty,
    cell_bounds,
    certain_map,
    certain_rows,
    labels_of,
    prob_margin_bound,
)
from .dense import DenseRenderer, PointHead
from .labeler import PixelLabeler, check_finite
from .lattice import Window
from .lookup import FinerGrid, Grid, MapGrid, portions

# From this share of the cells on, a grid is interpolated as a whole.
DENSE_SHARE = 0.25
# Logits that a CPU looks up at a time: so many fit its cache.
LOOKED_UP_AT_ONCE = 1 << 19


class Step(NamedTuple):
    """A step of the rendering.

    Attributes:
        size (tuple[int, int]): (height, width) of the finer grid.
        num_points (int): Number of its pixels that the point head labels. Defaults to 0.
        window (Window, optional): The part of the coarser grid to enlarge. Defaults to None: all of
            it.
    """

    size: tuple[int, int]
    num_points: int = 0
    window: Window | None = None


class Found(NamedTuple):
    """Pixels whose logits were looked up.

    Attributes:
        pixels (Tensor): Flat indices, (P,), int64.
        known (Certainty): Their regions and margins, (P,).
        sure (Tensor): What points are picked by, the smallest first, (P,).
    """

    pixels: Tensor
    known: Certainty
    sure: Tensor

    @classmethod
    def join(cls, parts: Sequence["Found"]) -> "Found":
        """Put the pixels of several together."""
        pixels, known, sure = zip(*parts, strict=True)
        known = Certainty(*map(torch.cat, zip(*known, strict=True)))
        return cls(torch.cat(pixels), known, torch.cat(sure))


@TASK_UTILS.register_module()
class SparseRenderer:
    """Coarse-to-fine rendering of labels, without logits where there is no boundary.

    The labels are those that the logits of a :class:`DenseRenderer` with the same settings have;
    see this module for why. Pixels whose two largest logits differ by no more than rounding errors
    are free to differ.

    Args:
        subdivision_steps (int, optional): See :class:`DenseRenderer`. Defaults to None.
        subdivision_num_points (int, optional): See :class:`DenseRenderer`. Defaults to None.
        scale_factor (float): See :class:`DenseRenderer`. Defaults to 2.
        uncertainty (str): See :class:`DenseRenderer`. Defaults to 'margin'.
        min_margin (float, optional): See :class:`DenseRenderer`. Defaults to None.
        align_corners (bool): See :class:`DenseRenderer`. Defaults to False.
        threshold (float): Threshold on the sigmoid of a one-channel model; :class:`PointRendHead`
            passes its own. Defaults to 0.3, as in MMSegmentation.

    Attributes:
        dense (DenseRenderer): The renderer of logits with the same settings.
    """

    def __init__(
        self,
        subdivision_steps: int | None = None,
        subdivision_num_points: int | None = None,
        scale_factor: float = 2,
        uncertainty: str = "margin",
        min_margin: float | None = None,
        align_corners: bool = False,
        threshold: float = 0.3,
    ) -> None:
        self.dense = DenseRenderer(
            subdivision_steps,
            subdivision_num_points,
            scale_factor,
            uncertainty,
            min_margin,
            align_corners,
        )
        self.threshold = threshold

    @classmethod
    def like(cls, dense: DenseRenderer, threshold: float | None = None) -> "SparseRenderer | None":
        """Build a renderer of the labels that ``dense`` would give.

        Args:
            dense (DenseRenderer): A renderer of logits.
            threshold (float, optional): Threshold on the sigmoid of a one-channel model. Defaults
                to None, that is 0.3.

        Returns:
            SparseRenderer | None: The renderer, or None if ``dense`` is of a class that renders
            differently: that is no DenseRenderer, or overrides how it is called or steps.
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
            coarse_logits (Tensor): (B, C, h, w) logits of the coarse head. Half precision is
                computed with in float32.
            fine_features (Tensor | Sequence[Tensor]): Fine features, (B, D, h', w'), of one level
                or several, any floating-point type and layout.
            point_head (Callable): Maps (B, D, N) fine features and (B, C, N) coarse logits at
                points to (B, C, N) logits. It is called with parts of an image's points.
            size (tuple[int, int]): (H, W) to render, at least that of the coarse map.
            window (Window, optional): Part of the rendering to keep, such as all but the padding.
                Defaults to None: all of it.
            output_size (tuple[int, int], optional): (height, width) that the logits of the window
                are resized to, bilinearly, as MMSegmentation does to get back to the original
                image. Defaults to None: as they are.

        Returns:
            Tensor: Labels, (B, H, W), int64.

        Raises:
            InputError: If ``size`` is smaller than the coarse map, the batch is empty, logits and
                features differ in batch size or device, or logits are NaN or infinite.
        """
        fine = [fine_features] if isinstance(fine_features, Tensor) else list(fine_features)
        _check_inputs(coarse_logits, fine)
        if coarse_logits.dtype not in (torch.float32, torch.float64):
            coarse_logits = coarse_logits.float()
        steps = self._steps(tuple(coarse_logits.shape[-2:]), tuple(size), window, output_size)
        images = zip(coarse_logits, *fine, strict=True)
        labels = [self._render(coarse, maps, point_head, steps) for coarse, *maps in images]
        return torch.stack(labels).long()

    def _steps(
        self,
        coarse: tuple[int, int],
        size: tuple[int, int],
        window: Window | None,
        output_size: tuple[int, int] | None,
    ) -> list[Step]:
        subdivision = self.dense.subdivision
        steps = [
            Step(grid, subdivision.points(grid, size)) for grid in subdivision.sizes(coarse, size)
        ]
        if (steps[-1].size if steps else coarse) != size:
            steps.append(Step(size))
        whole = Window(0, 0, *size)
        window = whole if window is None else Window(*window)
        output_size = window[2:] if output_size is None else tuple(output_size)
        if window != whole or output_size != size:
            steps.append(Step(output_size, window=window))
        return steps

    def _render(
        self, coarse: Tensor, fine: Sequence[Tensor], point_head: PointHead, steps: Sequence[Step]
    ) -> Tensor:
        """Labels of one image, (H, W), of a small type."""
        grid = MapGrid(coarse, coarse.dtype)
        labeler = PixelLabeler(point_head, grid, fine, self.dense.align_corners)
        known = certain_map(coarse, self.threshold)
        for step in steps:
            is_last = step is steps[-1]
            grid, known, points = self._survey(grid, known, step, is_last)
            if is_last:
                grid = None  # nobody will ask for its logits: let go of all grids
            if len(points):
                rows = labeler(points, step.size)
                known.put(points, certain_rows(rows, self.threshold))
                if grid is not None:
                    grid.replace(points, rows)
        return labels_of(known.region, len(coarse), self.threshold)

    def _survey(
        self, coarser: Grid, known: Certainty, step: Step, is_last: bool
    ) -> tuple[Grid, Certainty, Tensor]:
        """Go on to a finer grid.

        Args:
            coarser (Grid): The grid before.
            known (Certainty): Regions and lower bounds of the margins of its pixels, (h, w).
            step (Step): The step to go.
            is_last (bool): Whether nobody will ask for the margins and the logits of the finer one.

        Returns:
            tuple[Grid, Certainty, Tensor]: The finer grid, what is known of its pixels, (H, W), and
            those that the point head is to label, flat indices in order of memory, (N,).
        """
        grid = FinerGrid(coarser, step.size, self.dense.align_corners, known.margin, step.window)
        cells = cell_bounds(Certainty(*map(grid.window.of, known)))
        found = self._find(grid, cells.margin, step.num_points, keep=not is_last)
        if found is not None:
            margin = None if is_last else grid.spread(cells.margin)
            known = Certainty(grid.spread(cells.region), margin)
            known.put(found.pixels, found.known)
            points = found.pixels[self._least_sure(found.sure, step.num_points)]
        else:
            maps = grid.full()
            grid = MapGrid(maps, maps.dtype)
            known = certain_map(maps, self.threshold)
            sure = self._sureness(maps.unsqueeze(0), known.margin.unsqueeze(0))
            points = self._least_sure(sure.flatten(), step.num_points)
        return grid, known, points.sort().values

    def _find(self, grid: FinerGrid, bound: Tensor, num_points: int, keep: bool) -> Found | None:
        """Look up the pixels whose regions are open and, among others, the least sure ones.

        Args:
            grid (FinerGrid): The grid.
            bound (Tensor): Bounds of the margins inside the cells that it is interpolated from.
            num_points (int): How many of the least sure pixels must be among those found.
            keep (bool): Whether the grid takes up their logits, for a finer one.

        Returns:
            Found | None: The pixels, or None if they are so many that looking them up does not pay.
        """
        if self._by_probability(grid.channels):
            bound = prob_margin_bound(bound, grid.channels)
        bound = bound.flatten().clone()
        if grid.lattice.is_occupied is not None:
            bound[~grid.lattice.is_occupied.flatten()] = math.inf
        at_most = int(DENSE_SHARE * len(bound))
        limit = math.inf if self.dense.min_margin is None else self.dense.min_margin

        cells = (bound < 0).nonzero().squeeze(1)  # the mixed ones
        if len(cells) > at_most:
            return None
        found = self._look_up(grid, cells, keep)
        if num_points == 0:
            return found
        bound[cells] = math.inf

        missing = num_points - len(found.pixels)
        if missing > 0:
            if missing > at_most:
                return None
            # each has a pixel at least
            cells = bound.topk(missing, largest=False, sorted=False).indices
            cells = cells[bound[cells] < limit]
            found = Found.join((found, self._look_up(grid, cells, keep)))
            bound[cells] = math.inf

        sure = found.sure[found.sure < limit]
        if len(sure) >= num_points:
            # not kthvalue, which has no deterministic way on GPUs
            limit = sure.topk(num_points, largest=False, sorted=False).values.max()
        cells = (bound < limit).nonzero().squeeze(1)
        if len(cells) > at_most:
            return None
        return Found.join((found, self._look_up(grid, cells, keep)))

    def _look_up(self, grid: FinerGrid, cells: Tensor, keep: bool) -> Found:
        """Look up the pixels of some cells."""
        members = grid.lattice.members.of_rows.shape[1]
        if keep:
            grid.reserve(members * len(cells) * 3 // 2)  # others will follow
        cells_at_once = max(1, LOOKED_UP_AT_ONCE // (members * grid.channels))
        parts = []
        for part in portions(len(cells), cells_at_once, cells.device):
            pixels, rows = grid.interpolate(cells[part])
            if keep:
                grid.add(pixels, rows)
            known = certain_rows(rows, self.threshold)
            parts.append(Found(pixels, known, self._sureness(rows, known.margin)))
        return Found.join(parts)

    def _sureness(self, logits: Tensor, margin: Tensor) -> Tensor:
        """What points are picked by, of logits (B, C, ...) that have that ``margin``, (B, ...)."""
        if self._by_probability(logits.shape[1]):
            return margins(logits, self.dense.uncertainty)
        return margin

    def _by_probability(self, channels: int) -> bool:
        return self.dense.uncertainty == "prob_margin" and channels > 1

    def _least_sure(self, sure: Tensor, num_points: int) -> Tensor:
        """Indices of the points among (P,) pixels."""
        points = sure.topk(min(num_points, len(sure)), largest=False, sorted=False).indices
        if self.dense.min_margin is not None:
            points = points[sure[points] < self.dense.min_margin]
        return points


def _check_inputs(coarse_logits: Tensor, fine_features: Sequence[Tensor]) -> None:
    if len(coarse_logits) == 0:
        raise InputError(
            "There is no image in the batch: the logits have the shape "
            f"{tuple(coarse_logits.shape)}."
        )
    for features in fine_features:
        if features.device != coarse_logits.device:
            raise InputError(
                f"The logits are on {coarse_logits.device}, the features on {features.device}; "
                "move one of them."
            )
        if len(features) != len(coarse_logits):
            raise InputError(
                f"There are logits of {len(coarse_logits)} images and features of {len(features)}."
            )
    check_finite(coarse_logits, "coarse logits")
