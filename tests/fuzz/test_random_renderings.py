"""Dense and sparse rendering."""

from collections.abc import Callable
from functools import partial

import torch
from hypothesis import assume
from hypothesis import strategies as st
from test_sparse import assert_same_labels, labels_and_margins, make_head, smooth_logits
from torch import Tensor
from torch.nn import functional as F

from mmseg_pointrend import DenseRenderer, SparseRenderer
from mmseg_pointrend.points import Window, margins

from .examples import holds_for

seeds = st.integers(0, 2**32 - 1)


renderers = st.builds(
    SparseRenderer,
    subdivision_steps=st.one_of(st.none(), st.integers(0, 3)),
    subdivision_num_points=st.one_of(st.none(), st.integers(1, 400), st.just(10**6)),
    scale_factor=st.floats(1.1, 4),
    uncertainty=st.sampled_from(["margin", "prob_margin"]),
    align_corners=st.booleans(),
    threshold=st.floats(0.05, 0.95),
)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Tensor, list[Tensor], tuple[int, int]]:
    """Coarse logits, fine features of one or two levels, in float64, and a size to render."""
    torch.manual_seed(draw(seeds))
    batch, classes = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 8, 20]))
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    logits = draw(
        st.sampled_from(
            [
                smooth_logits,
                partial(smooth_logits, blob=24),  # few boundaries
                lambda *shape: torch.randn(*shape, dtype=torch.float64),  # all of it a boundary
                lambda *shape: 1e-3 * smooth_logits(*shape),
            ]
        )
    )
    coarse = logits(batch, classes, height, width)
    levels = st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40))
    shapes = draw(st.lists(levels, min_size=1, max_size=2))
    fine = [torch.randn(batch, *shape, dtype=torch.float64) for shape in shapes]
    size = draw(st.integers(height, 4 * height)), draw(st.integers(width, 4 * width))
    return coarse, fine, size


@st.composite
def windows(draw: st.DrawFn, size: tuple[int, int]) -> Window:
    """Any part of a rendering of ``size``."""
    height, width = draw(st.integers(1, size[0])), draw(st.integers(1, size[1]))
    top, left = draw(st.integers(0, size[0] - height)), draw(st.integers(0, size[1] - width))
    return Window(top, left, height, width)


def is_decided(
    dense: DenseRenderer,
    coarse: Tensor,
    fine: list[Tensor],
    head: Callable[[Tensor, Tensor], Tensor],
    size: tuple[int, int],
) -> bool:
    """Whether no two pixels tie for the last place among the least certain ones of a step."""
    before = coarse
    for step in dense.steps(coarse, fine, head, size):
        grid = tuple(step.logits.shape[-2:])
        plain = F.interpolate(before, grid, mode="bilinear", align_corners=dense.align_corners)
        sure = margins(plain, dense.uncertainty).flatten(1).sort(dim=1).values
        count = dense.subdivision.points(grid, size)
        if count < sure.shape[1] and (sure[:, count] - sure[:, count - 1]).min() < 1e-9:
            return False
        before = step.logits
    return True


@holds_for(400, st.data(), renderers, scenes())
def test_labels_are_those_of_the_dense_renderer(
    data: st.DataObject,
    renderer: SparseRenderer,
    scene: tuple[Tensor, list[Tensor], tuple[int, int]],
) -> None:
    coarse, fine, size = scene
    window, output_size = None, None
    if data.draw(st.booleans(), "is cut"):
        window = data.draw(windows(size), "window")
    if data.draw(st.booleans(), "is resized"):
        output_size = data.draw(st.tuples(*[st.integers(1, 90)] * 2), "output size")
    head = make_head(sum(level.shape[1] for level in fine), coarse.shape[1])
    assume(is_decided(renderer.dense, coarse, fine, head, size))
    assert_same_labels(renderer, coarse, fine, head, size, window, output_size)


@holds_for(100, renderers, scenes(), st.booleans())
def test_half_precision_features_give_the_labels_of_float64(
    renderer: SparseRenderer,
    scene: tuple[Tensor, list[Tensor], tuple[int, int]],
    channels_last: bool,
) -> None:
    coarse, fine, size = scene
    head = make_head(sum(level.shape[1] for level in fine), coarse.shape[1]).bfloat16()
    rounded = [level.bfloat16() for level in fine]
    logits = renderer.dense(coarse.float(), rounded, head, size)
    expected, margin = labels_and_margins(logits, renderer.threshold)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    features = [level.contiguous(memory_format=layout) for level in rounded]
    labels = renderer(coarse.float(), features, head, size)
    assert labels.shape == expected.shape
    assert labels.min() >= 0
    assert labels.max() < max(2, coarse.shape[1])
    clear = margin > 0.05
    if clear.any():
        assert (labels == expected)[clear].float().mean() > 0.9


@holds_for(200, renderers, scenes())
def test_each_dense_step_relabels_its_least_certain_pixels_and_no_others(
    renderer: SparseRenderer, scene: tuple[Tensor, list[Tensor], tuple[int, int]]
) -> None:
    coarse, fine, size = scene
    dense: DenseRenderer = renderer.dense
    head = make_head(sum(level.shape[1] for level in fine), coarse.shape[1])
    before = coarse
    for step in dense.steps(coarse, fine, head, size):
        grid = tuple(step.logits.shape[-2:])
        plain = F.interpolate(before, grid, mode="bilinear", align_corners=dense.align_corners)
        sure = margins(plain, dense.uncertainty).flatten(1)
        count = dense.subdivision.points(grid, size)
        assert step.index.shape == (len(coarse), count)
        changed = (step.logits != plain).any(dim=1).flatten(1)
        for image in range(len(coarse)):
            chosen = step.index[image]
            assert len(chosen.unique()) == len(chosen)
            assert set(changed[image].nonzero().flatten().tolist()) <= set(chosen.tolist())
            expected = sure[image].sort().values[: len(chosen)]
            torch.testing.assert_close(sure[image, chosen].sort().values, expected)
        before = step.logits
    assert dense(coarse, fine, head, size).shape == (*coarse.shape[:2], *size)
