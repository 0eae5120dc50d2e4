"""Which points to train on."""

import torch
from mmseg.registry import TASK_UTILS
from torch import Tensor

from .errors import InputError
from .points import (
    Uncertainty,
    cell_coords,
    check_uncertainty,
    margins,
    point_sample,
    stride16_cells,
)


@TASK_UTILS.register_module()
class UncertaintyPointSampler:
    """Random points, most of them where the coarse prediction is uncertain.

    As published (PointRend, section 3.1): draws ``oversample_ratio`` times as many points as needed
    uniformly at random, keeps the share ``importance_sample_ratio`` of the number needed that is
    least certain, and fills up with fresh uniform points.

    Args:
        num_points (int, optional): Points for each image. Defaults to None: as many as the
            stride-16 map of the training crop has cells.
        oversample_ratio (float): k in the paper, >= 1. Defaults to 3.
        importance_sample_ratio (float): beta in the paper, in [0, 1]. Defaults to 0.75.
        uncertainty (str | Callable): As of :func:`~mmseg_pointrend.points.margins`. Defaults to
            'margin'.
        padding_mode (str): What lies beyond the coarse map when it is scored: ``'zeros'``, as in
            MMSegmentation, makes the outer half of its outer cells look uncertain, so that they
            draw more than their share; ``'border'`` continues it. Defaults to 'zeros'.
        boundary_ratio (float): Share of the points, in [0, 1], that are pixels near true label
            boundaries; the others are drawn as above. Defaults to 0, the published method.
        boundary_radius (int): Chessboard distance in pixels, >= 1, up to which a pixel is near a
            boundary; pixels that touch another label are at distance 1. Defaults to 2.
        ignore_index (int): Label of ignored pixels, which make no boundary and are not near one;
            :class:`PointRendHead` passes its own. Defaults to 255.
        align_corners (bool): How coordinates map to pixels; :class:`PointRendHead` passes its own.
            Defaults to False.

    Raises:
        InputError: For arguments outside of these ranges.
    """

    def __init__(
        self,
        num_points: int | None = None,
        oversample_ratio: float = 3,
        importance_sample_ratio: float = 0.75,
        uncertainty: Uncertainty = "margin",
        padding_mode: str = "zeros",
        boundary_ratio: float = 0.0,
        boundary_radius: int = 2,
        ignore_index: int = 255,
        align_corners: bool = False,
    ) -> None:
        if num_points is not None and not (isinstance(num_points, int) and num_points >= 1):
            raise InputError(f"num_points must be an integer >= 1 or None, got {num_points!r}.")
        if not (isinstance(boundary_radius, int) and boundary_radius >= 1):
            raise InputError(f"boundary_radius must be an integer >= 1, got {boundary_radius!r}.")
        if oversample_ratio < 1:
            raise InputError(f"oversample_ratio must be >= 1, got {oversample_ratio!r}.")
        for name, ratio in (
            ("importance_sample_ratio", importance_sample_ratio),
            ("boundary_ratio", boundary_ratio),
        ):
            if not 0 <= ratio <= 1:
                raise InputError(f"{name} must be in [0, 1], got {ratio!r}.")
        if padding_mode not in ("zeros", "border"):
            raise InputError(f"padding_mode must be 'zeros' or 'border', got {padding_mode!r}.")
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.uncertainty = check_uncertainty(uncertainty)
        self.padding_mode = padding_mode
        self.boundary_ratio = boundary_ratio
        self.boundary_radius = boundary_radius
        self.ignore_index = ignore_index
        self.align_corners = align_corners

    @torch.no_grad()
    def __call__(
        self, coarse_logits: Tensor, image_size: tuple[int, int], labels: Tensor | None = None
    ) -> Tensor:
        """Draw points in images of ``image_size`` = (H, W) by their coarse logits, (B, C, h, w).

        True ``labels``, (B, H, W), integers, are needed with a ``boundary_ratio`` above 0, else an
        InputError is raised. Images without a boundary get all of their points as published.

        Returns:
            Tensor: Coordinates, (B, N, 2), float32 in [0, 1]: first the uncertain points, then
            uniform ones, at last those near boundaries. N never exceeds the number of pixels.
        """
        wanted = stride16_cells(image_size) if self.num_points is None else self.num_points
        num_points = min(wanted, image_size[0] * image_size[1])
        num_near = int(self.boundary_ratio * num_points)
        published = self._published(coarse_logits, num_points - num_near)
        if num_near == 0:
            return published
        if labels is None:
            raise InputError(
                f"boundary_ratio={self.boundary_ratio!r} needs labels; pass them to the sampler."
            )
        is_near = near_label_boundary(labels, self.boundary_radius, self.ignore_index).flatten(1)
        has_boundary = is_near.any(dim=1, keepdim=True)
        shares = torch.where(has_boundary, is_near, True).float()  # any pixel where none is near
        pixels = shares.multinomial(num_near, replacement=True)
        near = cell_coords(pixels, image_size, self.align_corners)
        if not has_boundary.all():
            others = self._published(coarse_logits, num_near)
            near = torch.where(has_boundary.unsqueeze(-1), near, others)
        return torch.cat((published, near), dim=1)

    def _published(self, coarse_logits: Tensor, num_points: int) -> Tensor:
        """Points as the paper draws them, (B, N, 2); the uncertain ones first."""
        batch, device = len(coarse_logits), coarse_logits.device
        num_uncertain = int(self.importance_sample_ratio * num_points)
        candidates = torch.rand(
            batch, int(self.oversample_ratio * num_points), 2, device=device, dtype=torch.float32
        )
        # Read the logits first, then score: half-way between logits +1 and -1 lies the least
        # certain point there is, which scoring the map and reading the scores would call certain.
        inside = candidates
        if self.padding_mode == "border" and not self.align_corners:
            # Between the centers of the outer cells; with align_corners these are the border.
            half_cell = 0.5 / candidates.new_tensor(coarse_logits.shape[:1:-1])  # (x, y)
            inside = candidates.clamp(half_cell, 1 - half_cell)
        logits = point_sample(coarse_logits, inside, self.align_corners)
        chosen = margins(logits, self.uncertainty).neg().topk(num_uncertain, dim=1).indices
        uncertain = candidates.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))
        rest = torch.rand(batch, num_points - num_uncertain, 2, device=device, dtype=torch.float32)
        return torch.cat((uncertain, rest), dim=1)


def near_label_boundary(labels: Tensor, radius: int, ignore_index: int = 255) -> Tensor:
    """Find the pixels of (B, H, W) labels that have a pixel of another label within a chessboard
    distance of ``radius``; neither of them ignored. A mask, (B, H, W), bool."""
    labels = labels.int()
    is_labeled = labels != ignore_index
    # The smallest label of each square, and minus the largest. Shifted copies, since max_pool2d
    # goes pixel by pixel on a CPU and takes several times as long.
    own = torch.stack((labels, -labels)).masked_fill(~is_labeled, torch.iinfo(torch.int32).max)
    near = own
    for dim in (-2, -1):
        source, near, length = near, near.clone(), near.shape[dim]
        for shift in range(1, min(radius, length - 1) + 1):
            for place, start in ((0, shift), (shift, 0)):
                part = near.narrow(dim, place, length - shift)
                torch.minimum(part, source.narrow(dim, start, length - shift), out=part)
    return (near != own).any(dim=0) & is_labeled
