"""Which points to train on."""

import torch
from mmseg.registry import TASK_UTILS
from torch import Tensor

from .errors import InputError
from .points import certainty, check_kind, point_sample, stride16_cells


@TASK_UTILS.register_module()
class UncertaintyPointSampler:
    """Random points, most of them where the coarse prediction is unsure (PointRend, section 3.1).

    Draws ``oversample_ratio`` times as many points as needed uniformly at random, keeps the share
    ``importance_sample_ratio`` of the number needed that is least certain, and fills up with fresh
    uniform points. ``oversample_ratio=1, importance_sample_ratio=0`` samples uniformly.

    Args:
        num_points (int, optional): Points for each image. Defaults to None: as many as the
            stride-16 map of the training crop has cells.
        oversample_ratio (float): k in the paper, >= 1. Defaults to 3.
        importance_sample_ratio (float): beta in the paper, in [0, 1]. Defaults to 0.75.
        uncertainty (str): ``'margin'`` or ``'prob_margin'``, see
            :func:`~mmseg_pointrend.points.certainty`. Defaults to 'margin'.
        padding_mode (str): What lies beyond the coarse map when it is scored: ``'zeros'``, as in
            MMSegmentation and detectron2, makes the outer half of its outer cells look uncertain,
            so that they draw more than their share; ``'border'`` continues it. Defaults to 'zeros'.
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
        uncertainty: str = "margin",
        padding_mode: str = "zeros",
        align_corners: bool = False,
    ) -> None:
        if num_points is not None and not (isinstance(num_points, int) and num_points >= 1):
            raise InputError(f"num_points={num_points!r} is no number of points, 1 or more.")
        if oversample_ratio < 1:
            raise InputError(f"oversample_ratio={oversample_ratio} is below 1.")
        if not 0 <= importance_sample_ratio <= 1:
            raise InputError(f"importance_sample_ratio={importance_sample_ratio} is not in [0, 1].")
        if padding_mode not in ("zeros", "border"):
            raise InputError(f"padding_mode={padding_mode!r} is neither 'zeros' nor 'border'.")
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.uncertainty = check_kind(uncertainty)
        self.padding_mode = padding_mode
        self.align_corners = align_corners

    @torch.no_grad()
    def __call__(self, coarse_logits: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Draw points for each image.

        Args:
            coarse_logits (Tensor): (B, C, H, W) logits of the coarse head.
            image_size (tuple[int, int]): (height, width) of the training crop in pixels.

        Returns:
            Tensor: Coordinates, (B, N, 2), float32 in [0, 1); the uncertain ones first. N never
            exceeds the number of pixels.
        """
        batch, device = len(coarse_logits), coarse_logits.device
        height, width = image_size
        wanted = stride16_cells(image_size) if self.num_points is None else self.num_points
        num_points = min(wanted, height * width)
        num_uncertain = int(self.importance_sample_ratio * num_points)

        candidates = torch.rand(
            batch, int(self.oversample_ratio * num_points), 2, device=device, dtype=torch.float32
        )
        # Read the logits first, then score: half-way between logits +1 and -1 lies the least
        # certain point there is, which scoring the map and reading the scores would call certain.
        inside = self._within_centers(candidates, tuple(coarse_logits.shape[-2:]))
        logits = point_sample(coarse_logits, inside, self.align_corners)
        chosen = certainty(logits, self.uncertainty).neg().topk(num_uncertain, dim=1).indices
        uncertain = candidates.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))

        rest = torch.rand(batch, num_points - num_uncertain, 2, device=device, dtype=torch.float32)
        return torch.cat((uncertain, rest), dim=1)

    def _within_centers(self, coords: Tensor, map_size: tuple[int, int]) -> Tensor:
        """Move coordinates, (B, N, 2), between the centers of the outer cells of an (H, W) map."""
        if self.padding_mode == "zeros" or self.align_corners:
            return coords  # with align_corners the centers of the outer cells are the border
        margin = 0.5 / torch.tensor(map_size[::-1], dtype=coords.dtype, device=coords.device)
        return torch.minimum(torch.maximum(coords, margin), 1 - margin)
