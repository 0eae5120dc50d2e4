"""Schedules for sizes that are symbols."""

import pytest

from mmseg_pointrend.export.schedule import FixedSubdivision
from mmseg_pointrend.rendering.subdivision import Subdivision


@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("size", [(64, 64), (257, 100), (33, 47), (1024, 17)])
def test_fixed_schedules_are_those_of_the_renderer(stride: int, size: tuple[int, int]) -> None:
    coarse = tuple(-(-length // stride) for length in size)
    for num_points in (None, 30, 5000):
        own = Subdivision(num_points=num_points)
        fixed = FixedSubdivision(own, stride.bit_length() - 1)
        assert fixed.sizes(coarse, size) == own.sizes(coarse, size)
        for grid in own.sizes(coarse, size):
            assert fixed.points(grid, size) == own.points(grid, size)
