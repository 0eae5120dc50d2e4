"""From coarse logits to labels."""

from collections.abc import Callable, Sequence

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from benchmarks import mmseg_cascade as mmseg
from benchmarks.measure import Measurement, compare
from benchmarks.scenes import coarse_logits, label_map, worst_logits
from mmseg_pointrend.point_head import PointMLP
from mmseg_pointrend.points import top2_margin
from mmseg_pointrend.rendering import DenseRenderer, SparseRenderer

STEPS, STRIDE = 2, 4


@torch.no_grad()
def benchmark_render(
    size: tuple[int, int] = (1024, 2048),
    classes: int = 19,
    channels: int = 256,
    num_points: int = 8192,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    against: Sequence[str] = ("mmseg", "dense"),
    annotations: str | None = None,
    worst_case: str | None = None,
    seed: int = 0,
    rounds: int = 7,
    check: bool = False,
) -> dict[str, Measurement]:
    """Measure the rendering of labels from coarse logits and fine features of stride 4.

    All sides have the same weights and end in labels. The point head agrees with the coarse logits
    but for what random weights make of random features: as that of a trained head, its answer
    mostly goes with its surroundings.

    Args:
        size (tuple[int, int]): (H, W) to render. Defaults to (1024, 2048).
        classes (int): Number of classes. Defaults to 19.
        channels (int): Channels of the fine features and of the point head. Defaults to 256.
        num_points (int): Points of each of two steps. Defaults to 8192.
        device (str): Where to run. Defaults to 'cpu'.
        dtype (torch.dtype): Type of features and point head; logits are float32. Defaults to
            float32.
        channels_last (bool): Whether the features are in channels_last. Defaults to False.
        against (Sequence[str]): Other sides: 'mmseg', ``PointHead`` and an argmax;
            'mmseg-segmentor', ``PointHead`` and what the segmentor does to its logits before the
            argmax; 'dense', :class:`DenseRenderer` and an argmax; 'doubled', ours on the scene at
            twice the height and width. Defaults to 'mmseg' and 'dense'.
        annotations (str, optional): Folder of label images. Defaults to None: draw shapes.
        worst_case (str, optional): Render :func:`worst_logits` of this case instead of a scene.
            Defaults to None.
        seed (int): Which scene, and of all random numbers. Defaults to 0.
        rounds (int): Timed runs of each side. Defaults to 7.
        check (bool): Whether to count the labels that differ from those of the dense renderer in
            float64, and tell how much the two largest logits differ there. Defaults to False.

    Returns:
        dict[str, Measurement]: 'sparse' and the other sides.
    """
    torch.manual_seed(seed)
    place = torch.device(device)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def scene(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        if worst_case is None:
            coarse = coarse_logits(label_map(size, annotations, seed), classes, STRIDE, seed)
        else:
            coarse = worst_logits(worst_case, classes, (size[0] // STRIDE, size[1] // STRIDE))
        fine = torch.randn(1, channels, *coarse.shape[-2:], device=place).to(dtype)
        return coarse.to(place), fine.contiguous(memory_format=layout)

    coarse, fine = scene(size)
    head = _agreeing_head(channels, classes).to(place, dtype)
    renderer = SparseRenderer(STEPS, num_points)

    sides: dict[str, Callable[[], Tensor]] = {"sparse": lambda: renderer(coarse, fine, head, size)}
    if "doubled" in against:
        larger = (2 * size[0], 2 * size[1])
        inputs = scene(larger)
        sides["sparse, doubled"] = lambda: renderer(*inputs, head, larger)
    if "dense" in against:
        sides["dense"] = lambda: _dense_labels(renderer.dense, coarse, fine, head, size)
    if {"mmseg", "mmseg-segmentor"} & set(against):
        rendered = _mmseg_logits(coarse.to(dtype), fine, head, size, num_points)
        if "mmseg" in against:
            sides["mmseg"] = lambda: rendered().argmax(dim=1)
        if "mmseg-segmentor" in against:
            sides["mmseg-segmentor"] = lambda: mmseg.postprocess(rendered())
    remarks = {name: {} for name in sides}
    if check:
        double = (x.double() for x in (coarse, fine))
        logits = renderer.dense(*double, head.double(), size=size)
        head.to(dtype)
        labels, margin = logits.argmax(dim=1), top2_margin(logits)
        for name in sides.keys() - {"sparse, doubled"}:
            wrong = sides[name]() != labels
            remarks[name]["labels unlike float64"] = int(wrong.sum())
            if wrong.any():
                remarks[name]["largest margin there"] = f"{margin[wrong].max():.1e}"
    results = compare(sides, place, rounds)
    for name, result in results.items():
        result.remarks.update(remarks[name])
    return results


def _agreeing_head(channels: int, classes: int) -> PointMLP:
    head = PointMLP(channels, classes, channels).eval()
    head.fc_seg.weight[:, -classes:, 0] += torch.eye(classes)
    return head


def _dense_labels(
    renderer: DenseRenderer,
    coarse: Tensor,
    fine: Tensor,
    head: nn.Module,
    size: tuple[int, int],
) -> Tensor:
    return renderer(coarse, fine, head, size=size).argmax(dim=1)


def _mmseg_logits(
    coarse: Tensor, fine: Tensor, head: PointMLP, size: tuple[int, int], num_points: int
) -> Callable[[], Tensor]:
    channels, classes = fine.shape[1], coarse.shape[1]
    other = mmseg.point_head(
        in_channels=[channels],
        in_index=[0],
        channels=channels,
        num_classes=classes,
        dropout_ratio=0,
    )
    other = other.eval().to(fine.device, fine.dtype)
    other.load_state_dict(head.state_dict())
    metas = [dict(img_shape=size, pad_shape=size)]
    test_cfg = ConfigDict(
        subdivision_steps=STEPS, subdivision_num_points=num_points, scale_factor=2
    )
    return lambda: other.predict([fine], coarse, metas, test_cfg)
