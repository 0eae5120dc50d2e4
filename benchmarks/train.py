"""Training steps."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import cv2
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from benchmarks import mmseg_cascade as mmseg
from benchmarks.measure import Measurement, compare
from benchmarks.scenes import label_map
from mmseg_pointrend import DataCheckHook, InvalidLossHook
from mmseg_pointrend.datasets.checked_loading import check_label_map
from mmseg_pointrend.datasets.drawing import render_shapes
from mmseg_pointrend.files import check_image
from mmseg_pointrend.points import stride16_cells


def benchmark_train(
    cfg: Config,
    size: tuple[int, int] = (512, 1024),
    batch_size: int = 2,
    device: str = "cpu",
    rounds: int = 7,
) -> dict[str, Measurement]:
    """Measure a training step, forward and backward, without the optimizer.

    Args:
        cfg (Config): Config of a model with a :class:`PointRendHead`; changed in place.
        size (tuple[int, int]): (H, W) of the crops. Defaults to (512, 1024).
        batch_size (int): Number of crops. Defaults to 2.
        device (str): Where to run. Defaults to 'cpu'.
        rounds (int): Timed runs of each side. Defaults to 7.

    Returns:
        dict[str, Measurement]: 'ours'; 'retrofit', ours with nothing but the point head to train;
        'coarse', the coarse model on its own; 'mmseg', a ``CascadeEncoderDecoder``, which runs its
        coarse head twice; 'point head', the arithmetic of the point head on its own; 'checks', what
        our hooks and loaders look at in a step; and 'coarse + point head', the sum of these sides,
        below which no PointRend can be that trains as a whole. All train on equally many points.
    """
    init_default_scope("mmseg")
    torch.manual_seed(0)
    place = torch.device(device)
    points = stride16_cells(size)
    cfg.model.type = "EncoderDecoder"
    cfg.model.backbone.init_cfg = None
    ours = MODELS.build(cfg.model)
    retrofit = MODELS.build({**cfg.model, "type": "RetrofitEncoderDecoder"})
    retrofit.load_state_dict(ours.state_dict())
    models = {
        "ours": ours,
        "retrofit": retrofit,
        "coarse": MODELS.build(mmseg.coarse_only(cfg.model)),
        "mmseg": MODELS.build(mmseg.cascade(cfg.model, points, subdivision_steps=2)),
    }
    inputs = torch.randn(batch_size, 3, *size, device=place)
    classes = cfg.model.decode_head.num_classes
    samples = [random_sample(size, classes, seed).to(place) for seed in range(batch_size)]
    runs: dict[str, Callable[[], None]] = {}
    for name, model in models.items():
        runs[name] = training_step(model.to(place).train(), inputs, samples)
    head = models["ours"].decode_head.point_head
    in_channels = head.fcs[0].conv.in_channels - classes
    fine = torch.randn(batch_size, in_channels, points, device=place, requires_grad=True)
    coarse = torch.randn(batch_size, classes, points, device=place, requires_grad=True)
    runs["point head"] = lambda: head(fine, coarse).sum().backward()

    with TemporaryDirectory() as folder:
        runs["checks"] = _checks(ours, samples, Path(folder))
        results = compare(runs, place, rounds)
    floor = [
        a + b for a, b in zip(results["coarse"].seconds, results["point head"].seconds, strict=True)
    ]
    results["coarse + point head"] = Measurement(floor, results["coarse"].peak_bytes)
    return results


def random_sample(size: tuple[int, int], classes: int, seed: int) -> SegDataSample:
    labels = torch.from_numpy(label_map(size, seed=seed)).long() % classes
    sample = SegDataSample(metainfo=dict(img_shape=size))
    sample.gt_sem_seg = PixelData(data=labels.unsqueeze(0))
    return sample


def _checks(model: nn.Module, samples: list[SegDataSample], folder: Path) -> Callable[[], None]:
    """The checks of a batch: its files, read once more for that, its labels and its losses."""
    image, labels = folder / "image.jpg", folder / "labels.png"
    height, width = samples[0].img_shape
    cv2.imwrite(str(image), render_shapes(0, 0, (height, width))[0])
    cv2.imwrite(str(labels), label_map((height, width)))
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo={}))
    runner = SimpleNamespace(model=model, train_dataloader=loader, iter=0)
    losses = {f"loss_{k}": torch.tensor(1.0) for k in range(4)}
    data_check, loss_check = DataCheckHook(), InvalidLossHook()

    def check() -> None:
        for _ in samples:
            check_image(image.read_bytes(), image)
            check_label_map(str(labels))
        data_check.before_train_iter(runner, 0, dict(data_samples=samples))
        loss_check.after_train_iter(runner, 0, {}, losses)

    return check


def training_step(
    model: nn.Module, inputs: Tensor, samples: list[SegDataSample]
) -> Callable[[], None]:
    def step() -> None:
        losses = model.loss(inputs, samples)
        sum(loss for name, loss in losses.items() if "loss" in name).backward()
        model.zero_grad()

    return step
