"""The numbers of MMSegmentation's own PointRend, on the same weights and inputs.

``pytest tests/test_parity.py -m "slow or not slow" -s`` ends with the largest differences seen.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmseg.models.decode_heads import point_head
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.mmseg_cascade import cascade_weights
from mmseg_pointrend import UncertaintyPointSampler

ModelCfg = Callable[..., ConfigDict]
MakeSamples = Callable[..., list[SegDataSample]]
# Compares two tensors (found, expected) of a kind, named first.
Compare = Callable[[str, Tensor, Tensor], None]

CONFIGS = Path(__file__).parents[1] / "configs"
MMSEG_CONFIGS = Path(mmseg.__file__).parent / ".mim" / "configs" / "point_rend"
ONE_LEVEL = dict(in_channels=8, in_index=0)
THREE_LEVELS = dict(in_channels=[8, 8, 8], in_index=[0, 1, 3])
# MMSegmentation's settings
RENDERER = dict(subdivision_steps=2, subdivision_num_points=8196, scale_factor=2)
SAMPLER = dict(num_points=200, oversample_ratio=3, importance_sample_ratio=0.75)
CALL = dict(uncertainty_func=point_head.calculate_uncertainty, cfg=ConfigDict(SAMPLER))


def grid_sample(maps: Tensor, points: Tensor, align_corners: bool = False, **kwargs) -> Tensor:
    """What mmcv's point_sample computes, which comes with its compiled operators only."""
    grid = 2 * points.unsqueeze(2) - 1
    return F.grid_sample(maps, grid, align_corners=align_corners, **kwargs).squeeze(3)


@pytest.fixture(autouse=True)
def _point_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    if point_head.point_sample is None:
        monkeypatch.setattr(point_head, "point_sample", grid_sample)


@pytest.fixture(scope="module")
def compare() -> Iterator[Compare]:
    """Hold two tensors to 1e-4 of each other; prints the largest difference of each kind."""
    largest: dict[str, tuple[float, float]] = {}

    def hold(kind: str, found: Tensor, expected: Tensor) -> None:
        worst, scale = largest.get(kind, (0.0, 0.0))
        difference = (found - expected).abs().max().item()
        largest[kind] = max(worst, difference), max(scale, expected.abs().max().item())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)

    yield hold
    reader = "grid_sample" if point_head.point_sample is None else "mmcv's point_sample"
    print(f"\nlargest differences, MMSegmentation reading points by {reader}:")
    for kind, (worst, scale) in largest.items():
        print(f"{kind:35} {worst:.1e} of values up to {scale:.4g}")


def make_twins(cfg: ConfigDict, num_points: int = 8196) -> tuple[nn.Module, nn.Module]:
    """MMSegmentation's model of a config of ours, and ours with the same weights."""
    shared = dict(num_classes=cfg.decode_head.num_classes, align_corners=False)
    points = dict(type="PointHead", channels=cfg.decode_head.channels, dropout_ratio=-1)
    in_channels, in_index = cfg.decode_head.in_channels, cfg.decode_head.in_index
    points["in_channels"] = [in_channels] if isinstance(in_channels, int) else in_channels
    points["in_index"] = [in_index] if isinstance(in_index, int) else in_index
    theirs = MODELS.build(
        ConfigDict(
            cfg,
            type="CascadeEncoderDecoder",
            num_stages=2,
            decode_head=[{**cfg.decode_head.coarse_head, **shared}, {**points, **shared}],
            train_cfg=SAMPLER,
            test_cfg={**RENDERER, "mode": "whole", "subdivision_num_points": num_points},
        )
    )
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    return theirs, twin_of(theirs, cfg, num_points)


def twin_of(theirs: nn.Module, cfg: ConfigDict, num_points: int = 8196) -> nn.Module:
    """Our model with MMSegmentation's settings and the weights of its model, loaded as they are."""
    cfg.decode_head.point_sampler = dict(type="UncertaintyPointSampler", **SAMPLER)
    cfg.decode_head.renderer = dict(
        type="DenseRenderer", **{**RENDERER, "subdivision_num_points": num_points}
    )
    ours = MODELS.build(cfg)
    ours.load_state_dict(theirs.state_dict())
    return ours


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    size = tuple(images.shape[-2:])
    metas = [dict(img_shape=size, pad_shape=size, ori_shape=size)] * len(images)
    with torch.no_grad():
        return model.eval().encode_decode(images, metas)


def coarse_logits_of(theirs: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        coarse = theirs.decode_head[0](theirs.extract_feat(images))
    return F.interpolate(coarse, images.shape[-2:])


@pytest.mark.parametrize("levels", [ONE_LEVEL, THREE_LEVELS])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("size", [(64, 96), (61, 75), (33, 130)])
@pytest.mark.parametrize("num_points", [100, 8196])
def test_same_logits(
    tiny_model: ModelCfg,
    compare: Compare,
    levels: dict,
    batch: int,
    size: tuple[int, int],
    num_points: int,
) -> None:
    theirs, ours = make_twins(tiny_model(**levels), num_points)
    images = torch.randn(batch, 3, *size)
    expected, logits = logits_of(theirs, images), logits_of(ours, images)
    assert logits.shape == (batch, 6, *size)
    several = "one fine level" if levels is ONE_LEVEL else "several fine levels"
    compare(f"logits, {several}", logits, expected)
    # A comparison of maps that the point heads left alone would show nothing.
    assert (expected - coarse_logits_of(theirs, images)).abs().max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("size", [(256, 512), (301, 467)])
def test_same_logits_of_the_published_recipe(compare: Compare, size: tuple[int, int]) -> None:
    theirs = Config.fromfile(MMSEG_CONFIGS / "pointrend_r50_4xb2-80k_cityscapes-512x1024.py").model
    ours = Config.fromfile(CONFIGS / "pointrend_r50_cityscapes.py").model
    theirs.update(pretrained=None)
    ours.backbone.init_cfg = None
    theirs = MODELS.build(theirs)
    for parameter in theirs.decode_head.parameters():
        nn.init.normal_(parameter, std=0.1)
    ours = twin_of(theirs, ours)
    images = torch.randn(2, 3, *size)
    expected = logits_of(theirs, images)
    compare("logits, ResNet-50, Cityscapes", logits_of(ours, images), expected)
    assert (expected - coarse_logits_of(theirs, images)).abs().max() > 0.1


@pytest.mark.parametrize("levels", [ONE_LEVEL, THREE_LEVELS])
@pytest.mark.parametrize("batch", [1, 2])
def test_same_losses_at_the_same_points(
    tiny_model: ModelCfg, make_samples: MakeSamples, compare: Compare, levels: dict, batch: int
) -> None:
    theirs, ours = make_twins(tiny_model(**levels))
    images = torch.randn(batch, 3, 61, 75)
    labels = torch.randint(0, 6, (batch, 61, 75))
    labels[:, :9] = 255
    losses = []
    for model in (theirs, ours):
        torch.manual_seed(1)
        losses.append(model.train().loss(images, make_samples(labels)))
    expected, found = losses
    for name, twin in {
        "decode_0.loss_ce": "decode.coarse.loss_ce",
        "decode_0.acc_seg": "decode.coarse.acc_seg",
        "decode_1.pointloss_ce": "decode.point.loss_ce",
        "decode_1.acc_point": "decode.point.acc_point",
    }.items():
        kind = f"{twin.rpartition('.')[2].split('_')[0]}, {twin.split('.')[1]}"
        compare(kind, found[twin].squeeze(), expected[name].squeeze())


@pytest.mark.parametrize("levels", [ONE_LEVEL, THREE_LEVELS])
def test_same_gradients(
    tiny_model: ModelCfg, make_samples: MakeSamples, compare: Compare, levels: dict
) -> None:
    theirs, ours = make_twins(tiny_model(**levels))
    images, labels = torch.randn(2, 3, 61, 75), torch.randint(0, 6, (2, 61, 75))
    labels[:, :9] = 255
    for model in (theirs, ours):
        torch.manual_seed(1)
        losses = model.train().loss(images, make_samples(labels))
        model.parse_losses(losses)[0].backward()
    gradients = {name: weight.grad for name, weight in ours.named_parameters()}
    for name, gradient in cascade_weights(gradients).items():
        expected = theirs.get_parameter(name).grad
        # the coarse head runs twice there, which adds its gradients up in another order
        scale = expected.abs().max().clamp(min=1)
        compare("gradients, relative", gradient / scale, expected / scale)


@pytest.mark.parametrize("batch", [1, 2])
def test_same_points_from_the_same_random_numbers(
    tiny_model: ModelCfg, compare: Compare, batch: int
) -> None:
    theirs, _ = make_twins(tiny_model())
    logits = torch.randn(batch, 6, 15, 19)
    torch.manual_seed(1)
    expected = theirs.decode_head[1].get_points_train(logits, **CALL)
    torch.manual_seed(1)
    points = UncertaintyPointSampler(**SAMPLER)(logits, image_size=(61, 75))
    compare("training points", points, expected)
    assert torch.equal(points, expected)
