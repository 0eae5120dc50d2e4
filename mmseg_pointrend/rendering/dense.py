"""Rendering of full-resolution logits."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mmseg.registry import TASK_UTILS
from torch import Tensor
from torch.nn import functional as F

from ..point_features import PointFeatures
from ..points import Uncertainty, cell_coords, check_uncertainty, margins
from .subdivision import Size, Subdivision

PointHead = Callable[[Tensor, Tensor], Tensor]
Levels = Tensor | Sequence[Tensor]


class RenderStep(NamedTuple):
    """What one step of a rendering leaves."""

    logits: Tensor  # the map after the step, (B, C, H, W)
    index: Tensor  # flat cells that the point head has labeled, the least certain first, (B, N)


@TASK_UTILS.register_module()
class DenseRenderer:
    """Coarse-to-fine rendering that keeps the logits of every pixel (PointRend, section 3.1).

    Each step upsamples the logits bilinearly, picks the least certain cells of the finer grid and
    replaces their logits by those of the point head. A fixed number of steps is followed by one
    bilinear resize if the size still differs.

    Args:
        subdivision_steps, subdivision_num_points, scale_factor: As ``steps``, ``num_points`` and
            ``scale_factor`` of :class:`Subdivision`.
        uncertainty (str | Callable): As of :func:`~mmseg_pointrend.points.margins`.
        align_corners (bool): How maps are upsampled and read. Defaults to False.
        point_features (PointFeatures, optional): What the point head sees at a point. Defaults to
            None: ``PointFeatures(1, align_corners)``. :class:`PointRendHead` passes both.

    Raises:
        InputError: If an argument is out of its range.
    """

    def __init__(
        self,
        subdivision_steps: int | None = None,
        subdivision_num_points: int | None = None,
        scale_factor: float = 2,
        uncertainty: Uncertainty = "margin",
        align_corners: bool = False,
        point_features: PointFeatures | None = None,
    ) -> None:
        self.subdivision = Subdivision(subdivision_steps, subdivision_num_points, scale_factor)
        self.uncertainty = check_uncertainty(uncertainty)
        self.align_corners = align_corners
        self.point_features = point_features or PointFeatures(align_corners=align_corners)

    def __call__(
        self, coarse_logits: Tensor, fine_features: Levels, point_head: PointHead, size: Size
    ) -> Tensor:
        """Render logits, (B, C, H, W), of the coarse logits' dtype.

        Args:
            coarse_logits (Tensor): Logits of the coarse head, (B, C, h, w).
            fine_features (Tensor | Sequence[Tensor]): Fine features, (B, D, h', w'), or levels.
            point_head (Callable): Maps (B, D, N) fine features and (B, C, N) coarse logits at
                points to (B, C, N) logits.
            size (tuple[int, int]): (H, W) to render; an InputError if smaller than the coarse map.
        """
        logits = coarse_logits
        for step in self.steps(coarse_logits, fine_features, point_head, size):
            logits = step.logits
        is_done = logits.shape[-2:] == tuple(size)
        return logits if is_done else resize(logits, size, self.align_corners)

    def steps(
        self, coarse_logits: Tensor, fine_features: Levels, point_head: PointHead, size: Size
    ) -> Iterator[RenderStep]:
        """Render step by step, with the arguments of a call; a fixed number of steps may end on
        another size than ``size``."""
        if isinstance(fine_features, Tensor):
            fine_features = (fine_features,)
        logits = coarse_logits
        for grid in self.subdivision.sizes(coarse_logits.shape[-2:], size):
            logits = resize(logits, grid, self.align_corners)
            uncertainty = margins(logits.flatten(2), self.uncertainty).neg()
            index = uncertainty.topk(self.subdivision.points(grid, size), dim=1).indices
            coords = cell_coords(index, grid, self.align_corners)
            # The coarse map itself, not the refined one of the step before: that is what the point
            # head was trained on.
            fine, coarse = self.point_features(fine_features, coarse_logits, coords)
            refined = point_head(fine, coarse).to(logits.dtype)
            cells = index.unsqueeze(1).expand_as(refined)
            logits = logits.flatten(2).scatter(2, cells, refined).unflatten(2, grid)
            yield RenderStep(logits, index)


def resize(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """Resize (B, C, h, w) logits to ``size`` = (H, W), bilinearly."""
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=align_corners)
