"""Schedules with a known number of steps, as graphs have them."""

from dataclasses import replace

import pytest

from mmseg_pointrend.rendering.subdivision import Subdivision


@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("size", [(64, 64), (257, 100), (33, 47), (1024, 17)])
def test_a_known_number_of_steps_changes_nothing(stride: int, size: tuple[int, int]) -> None:
    coarse = tuple(-(-length // stride) for length in size)
    own = Subdivision()
    fixed = replace(own, steps_needed=stride.bit_length() - 1)
    assert fixed.sizes(coarse, size) == own.sizes(coarse, size)
