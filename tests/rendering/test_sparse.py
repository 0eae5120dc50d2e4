from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.registry import TASK_UTILS
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_pointrend import DenseRenderer, PointMLP, SparseRenderer
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.point_features import PointFeatures
from mmseg_pointrend.points import Window


class RecordingHead:
    """A point head that counts its points and labels them all as one class."""

    def __init__(self, label: int = 0) -> None:
        self.label = label
        self.num_points = 0

    def __call__(self, fine_points: Tensor, coarse_points: Tensor) -> Tensor:
        self.num_points += coarse_points.shape[2]
        answer = torch.zeros_like(coarse_points)
        answer[:, self.label] = 50.0
        return answer


class LargestResult(TorchDispatchMode):
    """Knows the size in bytes of the largest tensor that an operation has made."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        inputs = {x.untyped_storage().data_ptr() for x in args if isinstance(x, Tensor)}
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, tuple | list) else (result,):
            if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in inputs:
                self.bytes = max(self.bytes, x.untyped_storage().nbytes())
        return result


def smooth_logits(batch: int, classes: int, height: int, width: int, blob: int = 4) -> Tensor:
    """Float64 logits with regions, boundaries and a bit of noise. With blobs of few pixels most
    cells are mixed, and grids are interpolated as a whole."""
    size = (height // blob + 2, width // blob + 2)
    blobs = 3 * torch.randn(batch, classes, *size, dtype=torch.float64)
    logits = F.interpolate(blobs, size=(height, width), mode="bicubic")
    return logits + 0.1 * torch.randn_like(logits)


def make_head(fine_channels: int, classes: int) -> PointMLP:
    """A point head in float64 that disagrees with the coarse logits now and then."""
    head = PointMLP(fine_channels, classes, channels=8, standardize=True).double().eval()
    head.requires_grad_(False).standardize.running_mean.normal_()
    for parameter in head.parameters():
        parameter.copy_(0.5 * torch.randn_like(parameter))
    return head


def labels_and_margins(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Labels of (B, C, H, W) logits as EncoderDecoder takes them, and how far they are from
    others."""
    if logits.shape[1] == 1:
        probability = logits[:, 0].sigmoid()
        return (probability > threshold).long(), (probability - threshold).abs()
    best = logits.topk(2, dim=1)
    return best.indices[:, 0], best.values[:, 0] - best.values[:, 1]


def assert_same_labels(
    renderer: SparseRenderer,
    coarse: Tensor,
    fine: Tensor | list[Tensor],
    head: Callable[[Tensor, Tensor], Tensor],
    size: tuple[int, int],
    window: Window | None = None,
    output_size: tuple[int, int] | None = None,
    tie: float = 1e-9,
) -> None:
    labels = renderer(coarse, fine, head, size, window, output_size)
    logits = renderer.dense(coarse, fine, head, size=size)
    logits = logits if window is None else window.of(logits)
    if output_size is not None:
        align_corners = renderer.dense.align_corners
        logits = F.interpolate(logits, output_size, mode="bilinear", align_corners=align_corners)
    expected, margin = labels_and_margins(logits, renderer.threshold)
    assert labels.dtype == torch.int64
    assert labels.shape == expected.shape
    different = (labels != expected) & (margin > tie)
    assert not different.any(), f"{different.sum()} of {different.numel()} pixels differ"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_labels_are_those_of_the_dense_renderer(data: st.DataObject) -> None:
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 1000), "seed"))
    batch = draw(st.integers(1, 2), "batch")
    classes = draw(st.sampled_from([1, 2, 3, 8]), "classes")
    height, width = draw(st.tuples(*[st.integers(2, 32)] * 2), "coarse size")
    size = draw(st.tuples(st.integers(height, 5 * height), st.integers(width, 5 * width)), "size")
    uncertainty = draw(st.sampled_from(["margin", "prob_margin"]), "uncertainty")
    renderer = SparseRenderer(
        draw(st.sampled_from([None, 0, 1, 2, 3]), "steps"),
        draw(st.sampled_from([None, 1, 20, 150, 10**6]), "points"),
        draw(st.sampled_from([2, 1.3, 2.5]), "scale"),
        uncertainty,
        align_corners := draw(st.booleans(), "align_corners"),
        PointFeatures(draw(st.sampled_from([1, 3, (1, 3)]), "neighborhood"), align_corners),
        threshold=draw(st.sampled_from([0.3, 0.5, 0.8]), "threshold"),
    )
    window, output_size = None, None
    if draw(st.booleans(), "is resized"):
        window = Window(size[0] // 5, size[1] // 7, max(1, size[0] // 2), max(1, size[1] // 2))
        output_size = draw(st.tuples(*[st.integers(1, 80)] * 2), "output size")

    coarse = smooth_logits(batch, classes, height, width, draw(st.sampled_from([4, 32]), "blob"))
    fine = [torch.randn(batch, 3, height, width), torch.randn(batch, 2, 2 * height, width + 1)]
    fine = [level.double() for level in fine]
    head = make_head(renderer.dense.point_features.num_channels([3, 2], classes), classes)
    assert_same_labels(renderer, coarse, fine, head, size, window, output_size)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("classes", [5, 300])
def test_float32_agrees_with_float64(classes: int, channels_last: bool) -> None:
    coarse, fine = smooth_logits(1, classes, 32, 48), torch.randn(1, 6, 32, 48).double()
    head = make_head(6, classes)
    renderer = SparseRenderer(2, 300)
    logits = renderer.dense(coarse, fine, head, size=(128, 192))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    coarse, fine = (x.float().contiguous(memory_format=layout) for x in (coarse, fine))
    labels = renderer(coarse, fine, head.float(), (128, 192))
    expected, margin = labels_and_margins(logits, 0.3)
    assert not ((labels != expected) & (margin > 1e-4)).any()


def test_half_precision_is_computed_with_in_float32() -> None:
    coarse, fine = smooth_logits(2, 4, 32, 48).bfloat16(), torch.randn(2, 6, 32, 48).bfloat16()
    head = make_head(6, 4).bfloat16()
    renderer = SparseRenderer(2, 300)
    labels = renderer(coarse, fine, head, (128, 192))
    expected = renderer.dense(coarse.float(), fine, head, size=(128, 192)).argmax(dim=1)
    assert (labels == expected).float().mean() > 0.999
    layout = fine.contiguous(memory_format=torch.channels_last)
    assert (labels == renderer(coarse, layout, head, (128, 192))).float().mean() > 0.999


def constant(classes: int) -> Tensor:
    return torch.zeros(1, classes, 24, 24, dtype=torch.float64) + torch.arange(classes).view(
        1, classes, 1, 1
    )


def checkerboard(classes: int) -> Tensor:
    odd = (torch.arange(24).view(-1, 1) + torch.arange(24)) % 2
    logits = 0.1 * torch.rand(1, classes, 24, 24, dtype=torch.float64)
    logits[:, 0] += odd
    logits[:, -1] += 1 - odd
    return logits


def noise(classes: int) -> Tensor:
    return torch.randn(1, classes, 24, 24, dtype=torch.float64)


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("num_points", [1, 100, 10**6])
@pytest.mark.parametrize("scene", [checkerboard, noise])
def test_worst_cases(scene: Callable[[int], Tensor], num_points: int, classes: int) -> None:
    fine = torch.randn(1, 3, 24, 24).double()
    for renderer in (SparseRenderer(2, num_points), SparseRenderer(None, num_points)):
        assert_same_labels(renderer, scene(classes), fine, make_head(3, classes), size=(90, 96))


@pytest.mark.parametrize("num_points", [1, 100, 10**6])
def test_of_equally_certain_points_any_are_taken(num_points: int) -> None:
    head = RecordingHead(label=1)
    labels = SparseRenderer(1, num_points)(constant(4), torch.zeros(1, 1, 24, 24), head, (48, 48))
    assert head.num_points == min(num_points, 48 * 48)
    assert (labels == 1).sum() == head.num_points
    assert (labels == 3).sum() == 48 * 48 - head.num_points


def test_nothing_of_the_size_of_the_logits_is_built() -> None:
    classes, size = 40, (256, 512)
    coarse = F.interpolate(torch.randn(1, classes, 4, 8), (64, 128), mode="bicubic")
    features = torch.randn(1, 128, 64, 128)
    head = PointMLP(128, classes, channels=16).requires_grad_(False)
    for layout in (torch.contiguous_format, torch.channels_last):
        fine = features.contiguous(memory_format=layout)
        with LargestResult() as largest:
            SparseRenderer(2, 256)(coarse, fine, head, size)
        assert largest.bytes >= 8 * size[0] * size[1]  # the labels
        assert largest.bytes < 4 * features.numel()
        assert largest.bytes < 0.2 * 4 * classes * size[0] * size[1]


def test_images_of_a_batch_know_nothing_of_each_other() -> None:
    coarse, fine = smooth_logits(3, 4, 20, 30), torch.randn(3, 2, 20, 30).double()
    head, renderer = make_head(2, 4), SparseRenderer()
    together = renderer(coarse, fine, head, (80, 120))
    for k in range(3):
        alone = renderer(coarse[k : k + 1], fine[k : k + 1], head, (80, 120))
        assert torch.equal(alone[0], together[k])


def test_parts_of_larger_maps_are_read_as_well() -> None:
    coarse, fine = smooth_logits(1, 4, 30, 40), torch.randn(1, 2, 30, 40).double()
    inside = (slice(None), slice(None), slice(5, 25), slice(3, 33))
    head, renderer = make_head(2, 4), SparseRenderer()
    labels = renderer(coarse[inside], fine[inside], head, (80, 120))
    copies = renderer(coarse[inside].contiguous(), fine[inside].contiguous(), head, (80, 120))
    assert torch.equal(labels, copies)


def test_inputs_are_left_as_they_are() -> None:
    coarse, fine = noise(4), torch.randn(1, 2, 24, 24).double()
    copies = coarse.clone(), fine.clone()
    SparseRenderer()(coarse, fine, make_head(2, 4), (96, 96))
    assert torch.equal(coarse, copies[0])
    assert torch.equal(fine, copies[1])


def test_no_step_at_all() -> None:
    coarse, fine = smooth_logits(1, 4, 20, 30), torch.zeros(1, 1, 20, 30).double()
    head = RecordingHead()
    labels = SparseRenderer()(coarse, fine, head, (20, 30))
    assert torch.equal(labels, coarse.argmax(dim=1))
    assert head.num_points == 0


def test_builds_from_a_config_and_from_a_dense_renderer() -> None:
    settings_ = dict(subdivision_steps=3, subdivision_num_points=7)
    renderer = TASK_UTILS.build(dict(type="SparseRenderer", threshold=0.6, **settings_))
    assert (renderer.threshold, renderer.dense.subdivision.num_points) == (0.6, 7)
    dense = TASK_UTILS.build(dict(type="DenseRenderer", **settings_))
    twin = SparseRenderer.like(dense)
    assert (twin.dense, twin.threshold) == (dense, 0.3)
    assert SparseRenderer.like(dense, threshold=0.4).threshold == 0.4


class Logged(DenseRenderer):
    """Changes nothing about labels."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.log: list[str] = []


class Smoothed(DenseRenderer):
    def __call__(self, *args, **kwargs) -> Tensor:
        return F.avg_pool2d(super().__call__(*args, **kwargs), 3, 1, 1)


class Shortened(DenseRenderer):
    def steps(self, *args, **kwargs) -> Iterator:
        yield from list(super().steps(*args, **kwargs))[:1]


def test_renders_for_subclasses_that_change_no_labels() -> None:
    dense = Logged(2)
    assert SparseRenderer.like(dense).dense is dense
    for other in (Smoothed(), Shortened(), lambda *_: None):
        assert SparseRenderer.like(other) is None


@pytest.mark.parametrize("classes", [1, 4])
def test_a_function_as_uncertainty_takes_the_dense_way(classes: int) -> None:
    def entropy(logits: Tensor) -> Tensor:
        if logits.shape[1] == 1:
            return -logits[:, 0].abs()
        return -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)

    coarse, fine = smooth_logits(2, classes, 20, 30), torch.randn(2, 2, 20, 30).double()
    head = make_head(2, classes)
    renderer = SparseRenderer(2, 50, uncertainty=entropy, threshold=0.6)
    assert_same_labels(renderer, coarse, fine, head, (80, 120), Window(5, 8, 60, 90), (70, 33))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    coarse, fine = noise(3), torch.randn(1, 2, 24, 24).double()
    coarse[0, 1, 3, 4] = value
    with pytest.raises(InputError, match="coarse logits must be finite"):
        SparseRenderer()(coarse, fine, make_head(2, 3), (48, 48))
    fine[0, 1] = value
    with pytest.raises(InputError, match="logits of the point head must be finite"):
        SparseRenderer()(noise(3), fine, make_head(2, 3), (48, 48))


def test_bad_input() -> None:
    coarse, fine, head = noise(3), torch.randn(1, 2, 24, 24).double(), make_head(2, 3)
    renderer = SparseRenderer()
    with pytest.raises(InputError, match="size must be at least"):
        renderer(coarse, fine, head, (48, 23))
    with pytest.raises(ValueError, match="argument 2 is longer"):
        renderer(coarse, fine.repeat(2, 1, 1, 1), head, (48, 48))


@pytest.fixture
def _deterministic() -> Iterator[None]:
    """Have PyTorch refuse what has no deterministic way on a GPU."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_deterministic")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_labels_on_any_device(device: str, layout: torch.memory_format) -> None:
    coarse = smooth_logits(2, 5, 20, 31).to(device)
    fine = torch.randn(2, 3, 40, 62, dtype=torch.float64, device=device)
    assert_same_labels(
        SparseRenderer(subdivision_num_points=150),
        coarse,
        fine.contiguous(memory_format=layout),
        make_head(3, 5).to(device),
        size=(80, 124),
        output_size=(71, 93),
    )
