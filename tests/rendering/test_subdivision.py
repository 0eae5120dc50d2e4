import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.rendering.subdivision import Subdivision

lengths = st.integers(1, 40)
factors = st.integers(1, 33)


def test_last_step_lands_exactly_on_the_target() -> None:
    assert Subdivision().sizes((16, 16), (64, 64)) == [(32, 32), (64, 64)]
    assert Subdivision().sizes((45, 60), (360, 480)) == [(90, 120), (180, 240), (360, 480)]
    # no power of two times the coarse map
    assert Subdivision().sizes((5, 7), (23, 29)) == [(10, 14), (20, 28), (23, 29)]
    assert Subdivision().sizes((1, 1), (3, 1)) == [(2, 1), (3, 1)]


@settings(max_examples=150, deadline=None)
@given(lengths, lengths, factors, factors, st.data())
def test_doubling_takes_the_fewest_steps(
    height: int, width: int, up: int, across: int, data: st.DataObject
) -> None:
    target = (
        height * up - data.draw(st.integers(0, height - 1)) * (up > 1),
        width * across - data.draw(st.integers(0, width - 1)) * (across > 1),
    )
    sizes = Subdivision().sizes((height, width), target)
    needed = max(math.ceil(math.log2(target[0] / height)), math.ceil(math.log2(target[1] / width)))
    assert len(sizes) == needed
    for k, size in enumerate(sizes, start=1):
        assert size == (min(height * 2**k, target[0]), min(width * 2**k, target[1]))
    assert [(height, width), *sizes][-1] == target


@settings(max_examples=60, deadline=None)
@given(lengths, lengths, factors, st.sampled_from([1.01, 1.5, 2, 3.3, 8]))
def test_any_factor_reaches_the_target(height: int, width: int, up: int, factor: float) -> None:
    target = (height * up, width + up)
    sizes = [(height, width), *Subdivision(scale_factor=factor).sizes((height, width), target)]
    assert sizes[-1] == target
    for before, after in itertools.pairwise(sizes):
        assert before != after
        assert all(
            b <= a <= max(b + 1, math.floor(b * factor)) for b, a in zip(before, after, strict=True)
        )


@pytest.mark.parametrize(
    ("steps", "factor", "sizes"),
    [
        (0, 2, []),
        (2, 2, [(6, 10), (12, 20)]),
        (1, 4, [(12, 20)]),
        (2, 1.5, [(4, 7), (6, 10)]),
        (4, 2, [(6, 10), (12, 20), (24, 40), (48, 80)]),
    ],
)
def test_a_fixed_number_of_steps_whatever_the_target(
    steps: int, factor: float, sizes: list[tuple[int, int]]
) -> None:
    for target in [(3, 5), (13, 20), (100, 100)]:
        assert Subdivision(steps=steps, scale_factor=factor).sizes((3, 5), target) == sizes


def test_nothing_is_left_to_do_at_the_target() -> None:
    assert Subdivision().sizes((7, 9), (7, 9)) == []


@pytest.mark.parametrize("target", [(15, 64), (64, 15), (1, 1)])
@pytest.mark.parametrize("steps", [None, 2])
def test_a_smaller_target_is_refused(steps: int | None, target: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"coarse map, 16x16, got {target[0]}x{target[1]}"):
        Subdivision(steps=steps).sizes((16, 16), target)


@pytest.mark.parametrize(
    ("num_points", "grid", "target", "points"),
    [
        (None, (256, 512), (512, 1024), 2048),
        (None, (8, 8), (8, 8), 1),
        (None, (2, 3), (512, 1024), 6),
        (8192, (512, 1024), (512, 1024), 8192),
        (8192, (9, 10), (512, 1024), 90),
        (1, (9, 10), (512, 1024), 1),
    ],
)
def test_number_of_points(
    num_points: int | None, grid: tuple[int, int], target: tuple[int, int], points: int
) -> None:
    assert Subdivision(num_points=num_points).points(grid, target) == points


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(steps=-1), "subdivision_steps must be .* got -1"),
        (dict(num_points=0), "subdivision_num_points must be .* got 0"),
        (dict(scale_factor=1), "scale_factor must be .* got 1"),
        (dict(scale_factor=0.5), r"scale_factor must be .* got 0\.5"),
    ],
)
def test_settings_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Subdivision(**arguments)


@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("size", [(64, 64), (257, 100), (33, 47), (1024, 17)])
def test_a_known_number_of_steps_gives_the_same_schedule(
    stride: int, size: tuple[int, int]
) -> None:
    coarse = tuple(-(-length // stride) for length in size)
    known = Subdivision(steps_needed=stride.bit_length() - 1)
    assert known.sizes(coarse, size) == Subdivision().sizes(coarse, size)


def test_one_step_too_many_stays_at_the_target() -> None:
    assert Subdivision(steps_needed=2).sizes((1, 1), (2, 1)) == [(2, 1), (2, 1)]
