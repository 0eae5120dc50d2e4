"""The sizes that a rendering passes through and how many points it re-labels at each."""

from dataclasses import dataclass

import torch

from ..errors import InputError
from ..points import as_length, stride16_cells

# (H, W); symbols while a graph is made
Size = tuple[int | torch.SymInt, int | torch.SymInt]


@dataclass(frozen=True)
class Subdivision:
    """The schedule of a coarse-to-fine rendering (PointRend, section 3.1, inference).

    Args:
        steps (int, optional): Number of steps. Defaults to None: until the size is reached.
        num_points (int, optional): Points re-labeled at each step. Defaults to None: as many as the
            stride-16 map of the rendered image has cells. Never more than the grid has.
        scale_factor (float): Growth of height and width at each step, above 1. Defaults to 2.
        steps_needed (int, optional): For graphs, whose sizes are symbols: how many steps reach the
            size, if ``steps`` is None. Defaults to None: found out.

    Raises:
        InputError: If an argument is out of its range.
    """

    steps: int | None = None
    num_points: int | None = None
    scale_factor: float = 2
    steps_needed: int | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("steps", self.steps, 0), ("num_points", self.num_points, 1)):
            if value is not None and not (isinstance(value, int) and value >= least):
                raise InputError(
                    f"subdivision_{name} must be an integer >= {least} or None, got {value!r}."
                )
        if not isinstance(self.scale_factor, int | float) or self.scale_factor <= 1:
            raise InputError(f"scale_factor must be a number > 1, got {self.scale_factor!r}.")

    def sizes(self, coarse: Size, target: Size) -> list[Size]:
        """(H, W) of the grid after each step from a coarse map on, without a fixed number of steps
        up to ``target``; an InputError if that is smaller than the coarse map."""
        size, target = tuple(map(as_length, coarse)), tuple(map(as_length, target))
        if not torch.compiler.is_compiling() and any(
            length < least for length, least in zip(target, size, strict=True)
        ):
            raise InputError(
                f"size must be at least that of the coarse map, {size[0]}x{size[1]}, got "
                f"{target[0]}x{target[1]}."
            )
        count = self.steps_needed if self.steps is None else self.steps
        sizes: list[Size] = []
        while (size != target) if count is None else (len(sizes) != count):
            size = tuple(map(self._grow, size))
            if self.steps is None:
                size = tuple(map(torch.sym_min, size, target))
            sizes.append(size)
        if self.steps is None and sizes:
            sizes[-1] = target  # a graph does not know that it is reached
        return sizes

    def _grow(self, length: int | torch.SymInt) -> int | torch.SymInt:
        if self.scale_factor == int(self.scale_factor):
            return length * int(self.scale_factor)
        # at least one pixel more, so that factors close to 1 end as well
        return max(int(length * self.scale_factor), length + 1)

    def points(self, grid: Size, target: Size) -> int | torch.SymInt:
        """Number of points to re-label on a grid on the way to ``target``."""
        wanted = stride16_cells(target) if self.num_points is None else self.num_points
        return torch.sym_min(wanted, grid[0] * grid[1])
