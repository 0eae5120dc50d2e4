"""What a point head sees at a point: fine features and coarse logits, read from their maps."""

from collections.abc import Sequence

import torch
from mmseg.registry import TASK_UTILS
from torch import Tensor

from .errors import InputError
from .points import neighborhood_sample, point_sample


@TASK_UTILS.register_module()
class PointFeatures:
    """Reads fine features and coarse logits at points, in training and in rendering.

    As published, a point sees each level and the coarse logits at its own place. With a
    ``neighborhood`` of 3 it sees its surroundings too, which tells on which side of a boundary it
    lies.

    Args:
        neighborhood (int | Sequence[int]): 1 reads a level at the point itself; 3 reads the point
            and its eight neighbors at a distance of one cell of the level, clamped into the level.
            One number, or one for each level. If any is 3, the differences between the coarse
            logits at the eight neighbors on the coarse map and those at the point join the fine
            features. Defaults to 1.
        align_corners (bool): How coordinates map to pixels, see
            :func:`~mmseg_pointrend.points.point_sample`; :class:`PointRendHead` passes its own.
            Defaults to False.

    Raises:
        InputError: If a neighborhood is neither 1 nor 3.
    """

    def __init__(self, neighborhood: int | Sequence[int] = 1, align_corners: bool = False) -> None:
        each = [neighborhood] if isinstance(neighborhood, int) else [*neighborhood]
        if not each or any(number not in (1, 3) for number in each):
            raise InputError(
                f"neighborhood must be 1 or 3, or one of them for each level, got {neighborhood!r}."
            )
        self.neighborhood = neighborhood
        self.align_corners = align_corners
        self._reads_differences = 3 in each

    def num_channels(self, level_channels: Sequence[int], num_logits: int) -> int:
        """Number of channels D of the fine features at a point, from those of each level and of the
        coarse logits; an InputError if there is not one neighborhood for each level."""
        neighborhoods = self._of_levels(len(level_channels))
        read = sum(n * n * c for n, c in zip(neighborhoods, level_channels, strict=True))
        return read + 8 * num_logits * self._reads_differences

    def __call__(
        self, levels: Sequence[Tensor], coarse_logits: Tensor, coords: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Read what the point head sees at points, (B, N, 2).

        Levels are (B, D', h', w'), coarse logits (B, C, h, w). Returns fine features, (B, D, N), of
        the dtype of the levels, and coarse logits, (B, C, N); each point's numbers lie in a row of
        memory.
        """
        coarse = point_sample(coarse_logits, coords, self.align_corners)
        fine = [
            neighborhood_sample(level, coords, self.align_corners).flatten(2)
            if neighborhood == 3
            else point_sample(level, coords, self.align_corners).transpose(1, 2)
            for neighborhood, level in zip(self._of_levels(len(levels)), levels, strict=True)
        ]
        if self._reads_differences:
            neighbors = neighborhood_sample(coarse_logits, coords, self.align_corners)
            others = torch.cat((neighbors[:, :, :4], neighbors[:, :, 5:]), dim=2)
            fine.append((others - neighbors[:, :, 4:5]).flatten(2).to(fine[0].dtype))
        return (fine[0] if len(fine) == 1 else torch.cat(fine, dim=2)).transpose(1, 2), coarse

    def _of_levels(self, count: int) -> Sequence[int]:
        if isinstance(self.neighborhood, int):
            return [self.neighborhood] * count
        if len(self.neighborhood) != count:
            raise InputError(
                f"neighborhood must be one number or one for each of {count} levels, got "
                f"{self.neighborhood!r}."
            )
        return self.neighborhood


def pair_levels(
    in_index: int | Sequence[int], in_channels: int | Sequence[int]
) -> list[tuple[int, int]]:
    """Index and channels of each level of the fine features; an InputError if one is a number and
    the other a list, or the lists differ in length."""
    index, channels = ([n] if isinstance(n, int) else n for n in (in_index, in_channels))
    if isinstance(in_index, int) != isinstance(in_channels, int) or len(index) != len(channels):
        raise InputError(
            "in_channels and in_index must be two integers or two lists of one length, got "
            f"in_channels={in_channels} and in_index={in_index}."
        )
    return [*zip(index, channels, strict=True)]


def as_levels(features: Tensor | Sequence) -> list[Tensor]:
    """The maps, (B, D', h', w'), that a backbone or neck gives.

    Some backbones give a single map, as DDRNet; for DPT, pairs of a map and a class token.
    """
    levels = [features] if isinstance(features, Tensor) else features
    return [level if isinstance(level, Tensor) else level[0] for level in levels]


def pick_levels(features: Tensor | Sequence, levels: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Pick the fine features, (B, D', h', w'), by index and channels from what a backbone or neck
    gives; an InputError if a level is not there or has other channels."""
    maps = as_levels(features)
    for index, channels in levels:
        if not -len(maps) <= index < len(maps):
            raise InputError(
                f"decode_head.in_index must be in 0 to {len(maps) - 1}, the levels that the "
                f"backbone (or neck) gives, got {index}; choose one of them, or have the backbone "
                "give more (out_indices)."
            )
        if maps[index].shape[1] != channels:
            raise InputError(
                f"decode_head.in_channels must be {maps[index].shape[1]} for level {index} of the "
                f"backbone (or neck), got {channels}; correct it, or choose another level with "
                "decode_head.in_index."
            )
    return [maps[index] for index, _ in levels]
