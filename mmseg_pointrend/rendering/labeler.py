"""Having the point head label single pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError
from .dense import PointHead
from .lattice import read_off
from .lookup import MapGrid, portions, weighted_rows

# Pixels that a CPU labels at a time: their hidden features stay in its cache.
LABELED_AT_ONCE = 2048


class PixelLabeler:
    """Labels pixels of an image, on grids of any size, by its coarse logits and fine features.

    Args:
        point_head (Callable): Maps (B, D, N) fine features and (B, C, N) coarse logits at points to
            (B, C, N) logits.
        coarse (MapGrid): The coarse logits.
        fine (Sequence[Tensor]): Fine features of one level or several, (D, h', w') each. What is
            read of them is kept for pixels that read the same: those of finer grids mostly do.
        align_corners (bool): As in :func:`~mmseg_pointrend.points.point_sample`.
    """

    def __init__(
        self,
        point_head: PointHead,
        coarse: MapGrid,
        fine: Sequence[Tensor],
        align_corners: bool,
    ) -> None:
        self.point_head = point_head
        self.coarse = coarse
        self.fine = [MapGrid(maps, coarse.maps.dtype) for maps in fine]
        self.align_corners = align_corners

    def __call__(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        """Label pixels.

        Args:
            pixels (Tensor): Flat indices, (N,), int64, best in order of memory.
            size (tuple[int, int]): (H, W) of the grid that they belong to.

        Returns:
            Tensor: Logits, (N, C).

        Raises:
            InputError: If logits are NaN or infinite.
        """
        y = torch.div(pixels, size[1], rounding_mode="floor")
        x = pixels - y * size[1]
        weights, located = {}, []
        for grid in (self.coarse, *self.fine):
            index, weight = read_off(size, grid.size, self.align_corners, pixels.device)
            located.append(grid.locate(torch.add(*index.at(y, x))))
            if grid.size not in weights:
                weights[grid.size] = torch.mul(*weight.at(y, x)).to(self.coarse.maps.dtype)
        parts = []
        for part in portions(len(pixels), LABELED_AT_ONCE, pixels.device):
            coarse, *fine = (
                weighted_rows(table, number[part], weights[grid.size][part])
                for grid, (table, number) in zip((self.coarse, *self.fine), located, strict=True)
            )
            # features in their own type, as the point head knows them
            fine = [rows.to(grid.maps.dtype) for rows, grid in zip(fine, self.fine, strict=True)]
            fine = fine[0] if len(fine) == 1 else torch.cat(fine, dim=1)
            logits = self.point_head(fine.t().unsqueeze(0), coarse.t().unsqueeze(0))
            parts.append(logits.squeeze(0).t())
        rows = torch.cat(parts).to(self.coarse.maps.dtype)
        check_finite(rows, "logits of the point head")
        return rows


def check_finite(logits: Tensor, name: str) -> None:
    """Refuse logits that are NaN or infinite.

    Raises:
        InputError: With how many there are under that name.
    """
    # No sum that has a NaN or an infinity in it is finite; a sum of finite ones may still overflow.
    if not logits.sum().isfinite() and not logits.isfinite().all():
        raise InputError(
            f"The {name} are not finite: {logits.isnan().sum()} of {logits.numel()} are NaN, "
            f"{logits.isinf().sum()} infinite. Labels of such logits would mean nothing; look for "
            "a diverged training or an overflow in half precision."
        )
