import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.registry import TASK_UTILS
from torch import Tensor
from torch.nn import functional as F

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.point_features import PointFeatures
from mmseg_pointrend.points import point_sample


def neighbors(maps: Tensor, coords: Tensor, align_corners: bool) -> Tensor:
    """The 3x3 neighborhood of points, (B, N, 9, C), by way of grid_sample."""
    height, width = maps.shape[-2:]
    sides = [n - 1 if align_corners else n for n in (width, height)]
    cell = torch.tensor([1 / max(n, 1) for n in sides], dtype=coords.dtype)
    steps = [(dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    read = [
        F.grid_sample(
            maps,
            (2 * (coords + cell * torch.tensor(step)) - 1).unsqueeze(1),
            padding_mode="border",
            align_corners=align_corners,
        ).squeeze(2)
        for step in steps
    ]
    return torch.stack(read, dim=1).permute(0, 3, 1, 2)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([1, 3, (3, 1), (1, 3), (1, 1), (3, 3)]),
    st.booleans(),
    st.booleans(),
)
def test_points_see_their_neighborhoods(
    seed: int,
    size: tuple[int, int],
    neighborhood: int | tuple[int, int],
    align_corners: bool,
    channels_last: bool,
) -> None:
    torch.manual_seed(seed)
    levels = [torch.randn(2, 4, *size).double(), torch.randn(2, 3, 5, 7).double()]
    coarse, coords = torch.randn(2, 3, 4, 6).double(), torch.rand(2, 11, 2).double()
    if channels_last:
        levels = [level.contiguous(memory_format=torch.channels_last) for level in levels]
    read = PointFeatures(neighborhood, align_corners)
    fine, coarse_points = read(levels, coarse, coords)
    each = (neighborhood,) * 2 if isinstance(neighborhood, int) else neighborhood
    expected = [
        neighbors(level, coords, align_corners).flatten(2).transpose(1, 2)
        if n == 3
        else point_sample(level, coords, align_corners)
        for n, level in zip(each, levels, strict=True)
    ]
    if 3 in each:
        around = neighbors(coarse, coords, align_corners)
        others = [k for k in range(9) if k != 4]
        expected.append((around[:, :, others] - around[:, :, 4:5]).flatten(2).transpose(1, 2))
    torch.testing.assert_close(fine, torch.cat(expected, dim=1))
    assert torch.equal(coarse_points, point_sample(coarse, coords, align_corners))
    assert fine.shape == (2, read.num_channels([4, 3], num_logits=3), 11)


def test_number_of_channels() -> None:
    assert PointFeatures().num_channels([256], 19) == 256
    assert PointFeatures(3).num_channels([16, 24], 11) == 9 * 40 + 88
    assert PointFeatures([3, 1]).num_channels([16, 24], 11) == 9 * 16 + 24 + 88


def test_features_keep_their_type_and_give_gradients() -> None:
    level = torch.randn(1, 4, 6, 6, dtype=torch.bfloat16, requires_grad=True)
    coarse = torch.randn(1, 3, 6, 6, requires_grad=True)
    fine, coarse_points = PointFeatures(3)([level], coarse, torch.rand(1, 5, 2))
    assert (fine.dtype, coarse_points.dtype) == (torch.bfloat16, torch.float32)
    fine.float().sum().backward()
    # Nine readings of each point, each of weights that add up to 1.
    assert level.grad.float().sum().item() == pytest.approx(4 * 5 * 9, rel=0.02)
    assert coarse.grad.abs().sum() > 0


def test_settings_are_checked() -> None:
    assert TASK_UTILS.build(dict(type="PointFeatures", neighborhood=3)).neighborhood == 3
    for neighborhood in (2, 0, [3, 5], []):
        with pytest.raises(InputError, match="neighborhood must be 1 or 3"):
            PointFeatures(neighborhood)
    with pytest.raises(InputError, match="one for each of 3 levels"):
        PointFeatures([1, 3]).num_channels([8, 8, 8], 2)
