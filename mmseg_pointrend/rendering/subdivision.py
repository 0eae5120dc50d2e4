"""The sizes that a rendering passes through and how many points it re-labels at each."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..points import stride16_cells


@dataclass(frozen=True)
class Subdivision:
    """The schedule of a coarse-to-fine rendering (PointRend, section 3.1, inference).

    Args:
        steps (int, optional): Number of steps, each by ``scale_factor``. Defaults to None: as many
            as it takes to reach the size asked for, the last one landing exactly on it.
        num_points (int, optional): Points re-labeled at each step. Defaults to None: as many as the
            stride-16 map of the rendered image has cells. Never more than the grid has.
        scale_factor (float): Growth of height and width at each step, above 1. Defaults to 2.

    Raises:
        InputError: For arguments outside of these ranges.
    """

    steps: int | None = None
    num_points: int | None = None
    scale_factor: float = 2

    def __post_init__(self) -> None:
        if not _is_none_or_at_least(0, self.steps):
            raise InputError(f"subdivision_steps={self.steps!r} is no number of steps, 0 or more.")
        if not _is_none_or_at_least(1, self.num_points):
            raise InputError(
                f"subdivision_num_points={self.num_points!r} is no number of points, 1 or more."
            )
        if not isinstance(self.scale_factor, int | float) or self.scale_factor <= 1:
            raise InputError(f"scale_factor={self.scale_factor!r} is no number above 1.")

    def sizes(self, coarse: Sequence[int], target: Sequence[int]) -> list[tuple[int, int]]:
        """Sizes of the grids after each step.

        Args:
            coarse (Sequence[int]): (height, width) of the coarse map.
            target (Sequence[int]): (height, width) asked for.

        Returns:
            list[tuple[int, int]]: One size a step. Without a fixed number of steps the last is
            ``target``, or the list is empty if the coarse map has that size already.

        Raises:
            InputError: If the target is smaller than the coarse map.
        """
        size, target = tuple(coarse), tuple(target)
        if any(t < c for t, c in zip(target, size, strict=True)):
            raise InputError(
                f"Cannot render a coarse map of {size[0]}x{size[1]} at the smaller size "
                f"{target[0]}x{target[1]}; ask for at least the size of the coarse map."
            )
        sizes: list[tuple[int, int]] = []
        while (size != target) if self.steps is None else (len(sizes) != self.steps):
            # at least one pixel more, so that factors close to 1 end as well
            size = tuple(max(int(length * self.scale_factor), length + 1) for length in size)
            if self.steps is None:
                size = tuple(map(min, size, target))
            sizes.append(size)
        return sizes

    def points(self, grid: Sequence[int], target: Sequence[int]) -> int:
        """Number of points to re-label on a ``grid`` of (height, width) on the way to
        ``target``."""
        wanted = stride16_cells(target) if self.num_points is None else self.num_points
        return min(wanted, grid[0] * grid[1])


def _is_none_or_at_least(minimum: int, value: object) -> bool:
    return value is None or (isinstance(value, int) and value >= minimum)
