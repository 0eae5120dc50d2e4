import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.registry import TASK_UTILS
from torch import Tensor
from torch.nn import functional as F

from mmseg_pointrend import DenseRenderer, PointMLP
from mmseg_pointrend.errors import InputError

both_conventions = pytest.mark.parametrize("align_corners", [False, True])


class RecordingHead:
    """A point head that writes down what it sees and answers with a constant."""

    def __init__(self, value: float = 100.0) -> None:
        self.value = value
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, fine_points: Tensor, coarse_points: Tensor) -> Tensor:
        self.seen.append((fine_points, coarse_points))
        answer = torch.zeros_like(coarse_points)
        answer[:, 0] = self.value
        return answer


def upsample(logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=align_corners)


def margins(logits: Tensor) -> Tensor:
    """Gap of the two best logits, (B, H * W)."""
    best = logits.flatten(2).topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


def read(maps: Tensor, index: Tensor, grid: tuple[int, int], align_corners: bool) -> Tensor:
    """Maps at cells of a grid, by way of grid_sample on the whole grid."""
    length = [torch.arange(n, dtype=torch.float64) for n in grid]
    if align_corners:
        y, x = (2 * i / max(len(i) - 1, 1) - 1 for i in length)
    else:
        y, x = (2 * (i + 0.5) / len(i) - 1 for i in length)
    cells = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    whole = F.grid_sample(
        maps.double(), cells.expand(len(maps), -1, -1, -1), align_corners=align_corners
    )
    return whole.flatten(2).gather(2, index.unsqueeze(1).expand(-1, maps.shape[1], -1)).float()


@both_conventions
def test_each_step_changes_its_points_and_nothing_else(align_corners: bool) -> None:
    coarse, fine = torch.randn(2, 4, 5, 6), torch.randn(2, 3, 20, 24)
    renderer = DenseRenderer(subdivision_num_points=17, align_corners=align_corners)
    head, before = RecordingHead(), coarse
    grids = []
    for step in renderer.steps(coarse, fine, head, size=(20, 23)):
        grids.append(tuple(step.logits.shape[-2:]))
        plain = upsample(before, grids[-1], align_corners)
        changed = (step.logits != plain).any(dim=1).flatten(1)
        assert step.index.shape == (2, 17)
        for image in range(2):
            assert set(changed[image].nonzero().flatten().tolist()) == set(
                step.index[image].tolist()
            )
            certain = margins(plain)[image]
            # the least certain of all, in this order
            torch.testing.assert_close(certain[step.index[image]], certain.sort().values[:17])
        answers = step.logits.flatten(2).gather(2, step.index.unsqueeze(1).expand(-1, 4, -1))
        assert (answers[:, 0] == head.value).all()
        assert (answers[:, 1:] == 0).all()
        before = step.logits
    assert grids == [(10, 12), (20, 23)]
    assert torch.equal(renderer(coarse, fine, RecordingHead(), size=(20, 23)), before)


@both_conventions
def test_point_head_sees_fine_features_and_the_coarse_logits_themselves(
    align_corners: bool,
) -> None:
    coarse = torch.randn(2, 4, 5, 6)
    levels = [torch.randn(2, 3, 20, 24), torch.randn(2, 5, 10, 12)]
    renderer = DenseRenderer(subdivision_num_points=11, align_corners=align_corners)
    head = RecordingHead()
    steps = list(renderer.steps(coarse, levels, head, size=(21, 24)))
    assert len(steps) == len(head.seen) == 3
    for (logits, index), (fine_points, coarse_points) in zip(steps, head.seen, strict=True):
        grid = tuple(logits.shape[-2:])
        expected = [read(level, index, grid, align_corners) for level in levels]
        torch.testing.assert_close(fine_points, torch.cat(expected, dim=1), rtol=1e-3, atol=1e-4)
        # not the refined map, whose first channel is far above
        torch.testing.assert_close(
            coarse_points, read(coarse, index, grid, align_corners), rtol=1e-3, atol=1e-4
        )


@both_conventions
@pytest.mark.parametrize("size", [(24, 32), (23, 37), (48, 9)])
def test_a_ramp_stays_where_it_is(size: tuple[int, int], align_corners: bool) -> None:
    """Upsampling and reading agree on where a pixel lies: nothing drifts, step after step."""

    def ramp(height: int, width: int) -> Tensor:
        if align_corners:
            y, x = torch.linspace(0, 1, height), torch.linspace(0, 1, width)
        else:
            y, x = ((torch.arange(n) + 0.5) / n for n in (height, width))
        return (3 * x - 2 * y.unsqueeze(1) - 0.4).view(1, 1, height, width)

    coarse_size = (6, 8)
    # The ramp is its own fine feature; the point head hands it on.
    logits = DenseRenderer(subdivision_num_points=40, align_corners=align_corners)(
        ramp(*coarse_size), ramp(*size), lambda fine, _: fine, size=size
    )
    expected = ramp(*size)
    if not align_corners:
        # Beyond the outermost centers of the coarse map, bilinear upsampling goes on flat, and
        # each step carries that half as far inwards: one coarse cell in all.
        rows, cols = (
            slice(-(-length // coarse), length - -(-length // coarse))
            for length, coarse in zip(size, coarse_size, strict=True)
        )
        logits, expected = logits[..., rows, cols], expected[..., rows, cols]
    assert expected.numel() > 100
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(0, 30), st.integers(0, 30)),
    st.sampled_from([None, 1, 5, 10**6]),
    st.sampled_from([None, 0, 1, 3]),
    st.sampled_from([1, 3]),
    st.booleans(),
)
def test_any_size_can_be_rendered(
    coarse_size: tuple[int, int],
    growth: tuple[int, int],
    num_points: int | None,
    steps: int | None,
    classes: int,
    align_corners: bool,
) -> None:
    size = (coarse_size[0] + growth[0], coarse_size[1] + growth[1])
    renderer = DenseRenderer(steps, num_points, align_corners=align_corners)
    coarse, fine = torch.randn(2, classes, *coarse_size), torch.randn(2, 3, 4, 4)
    logits = renderer(coarse, fine, PointMLP(3, classes, channels=4), size=size)
    assert logits.shape == (2, classes, *size)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_every_cell_is_labeled_where_there_are_points_enough() -> None:
    head = RecordingHead()
    logits = DenseRenderer(subdivision_num_points=10**6)(
        torch.randn(1, 3, 2, 3), torch.randn(1, 2, 8, 8), head, size=(7, 11)
    )
    assert [fine.shape[-1] for fine, _ in head.seen] == [4 * 6, 7 * 11]
    assert (logits[:, 0] == head.value).all()
    assert (logits[:, 1:] == 0).all()


def test_as_many_points_as_the_stride_16_map_has_cells() -> None:
    head = RecordingHead()
    DenseRenderer()(torch.randn(1, 3, 16, 16), torch.randn(1, 2, 16, 16), head, size=(64, 96))
    assert [fine.shape[-1] for fine, _ in head.seen] == [24, 24, 24]


def test_a_map_of_the_size_asked_for_comes_back_as_it_is() -> None:
    coarse, head = torch.randn(2, 3, 6, 7), RecordingHead()
    assert torch.equal(DenseRenderer()(coarse, torch.randn(2, 2, 6, 7), head, size=(6, 7)), coarse)
    assert head.seen == []


def test_images_of_a_batch_are_rendered_each_on_its_own() -> None:
    coarse, fine = torch.randn(3, 4, 5, 6), torch.randn(3, 7, 20, 24)
    head, renderer = PointMLP(7, 4, channels=8), DenseRenderer(subdivision_num_points=30)
    together = renderer(coarse, fine, head, size=(33, 45))
    for k in range(3):
        alone = renderer(coarse[k : k + 1], fine[k : k + 1], head, size=(33, 45))
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-4, atol=1e-5)


@both_conventions
def test_fixed_steps_end_with_one_resize(align_corners: bool) -> None:
    coarse, fine = torch.randn(1, 3, 4, 5), torch.randn(1, 2, 16, 20)
    renderer = DenseRenderer(2, 9, align_corners=align_corners)
    steps = list(renderer.steps(coarse, fine, RecordingHead(), size=(50, 50)))
    assert [tuple(step.logits.shape[-2:]) for step in steps] == [(8, 10), (16, 20)]
    rendered = renderer(coarse, fine, RecordingHead(), size=(50, 50))
    assert torch.equal(rendered, upsample(steps[-1].logits, (50, 50), align_corners))


def test_no_steps_are_plain_upsampling() -> None:
    coarse = torch.randn(1, 3, 4, 5)
    head = RecordingHead()
    rendered = DenseRenderer(subdivision_steps=0)(coarse, torch.randn(1, 2, 8, 8), head, (9, 11))
    assert torch.equal(rendered, upsample(coarse, (9, 11)))
    assert head.seen == []


def test_probabilities_may_choose_other_points_than_logits() -> None:
    coarse, fine = 3 * torch.randn(1, 5, 6, 6), torch.randn(1, 2, 6, 6)
    chosen = {}
    for kind in ("margin", "prob_margin"):
        renderer = DenseRenderer(1, 10, uncertainty=kind)
        (step,) = renderer.steps(coarse, fine, RecordingHead(), size=(12, 12))
        chosen[kind] = step.index[0].tolist()
    certain = margins(upsample(coarse, (12, 12)).softmax(dim=1))[0]
    torch.testing.assert_close(certain[chosen["prob_margin"]], certain.sort().values[:10])
    assert set(chosen["margin"]) != set(chosen["prob_margin"])


def test_half_precision_features_leave_the_logits_type() -> None:
    coarse, fine = torch.randn(1, 3, 4, 4), torch.randn(1, 2, 8, 8).bfloat16()
    head = PointMLP(2, 3, channels=4).bfloat16()
    assert DenseRenderer()(coarse, fine, head, size=(16, 16)).dtype == torch.float32


def test_a_smaller_size_is_refused() -> None:
    with pytest.raises(InputError, match="coarse map, 8x8, got 8x7"):
        DenseRenderer()(torch.randn(1, 3, 8, 8), torch.randn(1, 2, 8, 8), RecordingHead(), (8, 7))


def test_settings_out_of_range_are_refused() -> None:
    for arguments in (
        dict(subdivision_steps=-1),
        dict(scale_factor=1),
        dict(uncertainty="std"),
    ):
        with pytest.raises(InputError, match=next(iter(arguments))):
            TASK_UTILS.build(dict(type="DenseRenderer", **arguments))


def test_a_function_picks_points() -> None:
    coarse, fine = torch.randn(1, 3, 4, 5), torch.randn(1, 2, 8, 8)
    renderer = DenseRenderer(1, 7, uncertainty=lambda logits: logits[:, 1])
    (step,) = renderer.steps(coarse, fine, RecordingHead(), size=(8, 10))
    expected = upsample(coarse, (8, 10))[0, 1].flatten().topk(7).indices
    assert torch.equal(step.index[0], expected)
