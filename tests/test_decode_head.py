from collections.abc import Callable

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_pointrend import (
    DenseRenderer,
    InputError,
    PointMLP,
    PointRendHead,
    UncertaintyPointSampler,
)

ModelCfg = Callable[..., ConfigDict]
MakeSamples = Callable[..., list[SegDataSample]]

ASPP = dict(
    _delete_=True,
    type="ASPPHead",
    in_channels=8,
    in_index=3,
    channels=8,
    dilations=(1, 2),
    dropout_ratio=0,
    norm_cfg=dict(type="BN"),
    loss_decode=dict(type="CrossEntropyLoss"),
)
FCN_OF_LEVELS = dict(
    _delete_=True,
    type="FCNHead",
    in_channels=(8, 8),
    in_index=(1, 2),
    input_transform="resize_concat",
    channels=8,
    num_convs=1,
    dropout_ratio=0,
    norm_cfg=dict(type="BN"),
)
ENC = dict(
    _delete_=True,
    type="EncHead",
    in_channels=(8, 8),
    in_index=(2, 3),
    channels=8,
    num_codes=4,
    add_lateral=True,
    dropout_ratio=0,
    norm_cfg=dict(type="BN"),
)
BINARY_LOSS = dict(type="CrossEntropyLoss", use_sigmoid=True)
BINARY = dict(
    num_classes=2,
    out_channels=1,
    loss_decode=BINARY_LOSS,
    coarse_head=dict(loss_decode=BINARY_LOSS),
)


class Fixed:
    """A sampler that gives the same points to every image."""

    def __init__(self, coords: Tensor) -> None:
        self.coords = coords

    def __call__(self, coarse_logits: Tensor, image_size: tuple[int, int]) -> Tensor:
        return self.coords.expand(len(coarse_logits), -1, -1)


class Answering(nn.Module):
    """A point head that gives fixed logits, (B, C, N)."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, fine_points: Tensor, coarse_points: Tensor) -> Tensor:
        return self.logits


def count_calls(module: nn.Module) -> list[tuple]:
    calls: list[tuple] = []
    module.register_forward_hook(lambda _module, args, _output: calls.append(args))
    return calls


def step(cfg: ConfigDict, samples: list[SegDataSample]) -> tuple[nn.Module, dict[str, Tensor]]:
    """Build a model and take a training step's losses and gradients on random images."""
    model = MODELS.build(cfg)
    size = samples[0].gt_sem_seg.data.shape[-2:]
    total, losses = model.parse_losses(
        model(torch.randn(len(samples), 3, *size), samples, mode="loss")
    )
    total.backward()
    return model, {name: loss for name, loss in losses.items() if name != "loss"}


def gradients(module: nn.Module) -> Tensor:
    """All gradients of a module as one vector; those missing count as zero."""
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
            for p in module.parameters()
        ]
    )


def test_builds_from_the_documented_config() -> None:
    head = MODELS.build(
        dict(
            type="PointRendHead",
            coarse_head=dict(
                type="FPNHead",
                in_channels=[256, 256, 256, 256],
                in_index=[0, 1, 2, 3],
                feature_strides=[4, 8, 16, 32],
                channels=128,
            ),
            in_channels=256,
            in_index=0,
            channels=256,
            num_classes=19,
            point_head=dict(type="PointMLP", num_fcs=3, coarse_pred_each_layer=True),
            point_sampler=dict(
                type="UncertaintyPointSampler",
                num_points=None,
                oversample_ratio=3,
                importance_sample_ratio=0.75,
            ),
            renderer=dict(
                type="DenseRenderer",
                subdivision_steps=None,
                subdivision_num_points=None,
                scale_factor=2,
            ),
            loss_decode=dict(type="CrossEntropyLoss"),
        )
    )
    assert isinstance(head, PointRendHead)
    assert isinstance(head.point_head, PointMLP)
    assert isinstance(head.point_sampler, UncertaintyPointSampler)
    assert isinstance(head.renderer, DenseRenderer)
    assert len(head.point_head.fcs) == 3
    assert head.point_head.fcs[0].conv.in_channels == 256 + 19
    assert head.coarse_head.num_classes == head.coarse_head.out_channels == 19
    # no layer of its own that never gets a gradient
    assert {name.split(".")[0] for name in head.state_dict()} == {"coarse_head", "point_head"}


def test_parts_take_what_they_share_from_the_head(tiny_model: ModelCfg) -> None:
    head = MODELS.build(
        tiny_model(num_classes=4, ignore_index=7, align_corners=True, channels=12)
    ).decode_head
    assert head.coarse_head.num_classes == head.coarse_head.out_channels == 4
    assert head.coarse_head.ignore_index == 7
    assert head.coarse_head.align_corners
    assert head.point_sampler.align_corners
    assert head.renderer.align_corners
    assert head.point_head.fc_seg.out_channels == 4
    assert head.point_head.fc_seg.in_channels == 12 + 4
    head = MODELS.build(tiny_model(**BINARY, threshold=0.6)).decode_head
    assert head.coarse_head.out_channels == 1
    assert head.coarse_head.threshold == head.threshold == 0.6


@pytest.mark.parametrize(
    ("key", "theirs", "mine"),
    [("num_classes", 19, 6), ("ignore_index", 0, 255), ("align_corners", True, False)],
)
def test_a_coarse_head_that_disagrees_is_refused(
    tiny_model: ModelCfg, key: str, theirs: object, mine: object
) -> None:
    with pytest.raises(ValueError, match=rf"coarse_head\.{key} must be .* {mine}, got {theirs};"):
        MODELS.build(tiny_model(coarse_head={key: theirs}))
    assert MODELS.build(tiny_model(coarse_head={key: mine})).decode_head.coarse_head


def test_a_renderer_that_disagrees_is_refused(tiny_model: ModelCfg) -> None:
    renderer = dict(type="SparseRenderer", threshold=0.5)
    with pytest.raises(ValueError, match=r"renderer\.threshold must be .* 0\.3, got 0\.5"):
        MODELS.build(tiny_model(**BINARY, renderer=renderer))
    head = MODELS.build(tiny_model(**BINARY, renderer=renderer, threshold=0.5)).decode_head
    assert head.label_renderer.threshold == 0.5


def test_a_coarse_head_with_another_threshold_is_refused(tiny_model: ModelCfg) -> None:
    coarse = dict(BINARY["coarse_head"], threshold=0.7)
    advice = r"coarse_head\.threshold must .* got 0\.7; .* set threshold=0\.7 in PointRendHead"
    with pytest.raises(InputError, match=advice):
        MODELS.build(tiny_model(**dict(BINARY, coarse_head=coarse)))
    assert MODELS.build(tiny_model(**dict(BINARY, coarse_head=coarse, threshold=0.7)))
    assert MODELS.build(tiny_model(coarse_head=dict(threshold=0.7)))  # of no use with six channels


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (dict(num_classes=2, out_channels=1), "set use_sigmoid=True"),
        (dict(loss_decode=dict(type="OhemCrossEntropy")), "takes no ignore_index"),
        (dict(loss_decode=dict(type="BoundaryLoss")), "takes no ignore_index"),
    ],
)
def test_losses_that_points_cannot_have_are_refused(
    tiny_model: ModelCfg, make_samples: MakeSamples, head: dict, message: str
) -> None:
    model = MODELS.build(tiny_model(**head)).train()
    with pytest.raises(InputError, match=message):
        model.loss(torch.randn(2, 3, 64, 64), make_samples(torch.zeros(2, 64, 64).long()))


def test_parts_are_those_of_this_package_unless_they_have_a_type(tiny_model: ModelCfg) -> None:
    """As where a config without a sampler gets ``_delete_``, or a number by --cfg-options."""
    parts = dict(
        point_sampler=dict(_delete_=True, num_points=7),
        renderer=dict(subdivision_steps=1),
        point_head=dict(num_fcs=2),
    )
    head = MODELS.build(tiny_model(**parts)).decode_head
    assert head.point_sampler.num_points == 7
    assert head.renderer.subdivision.steps == 1
    assert len(head.point_head.fcs) == 2


def test_a_head_that_trains_on_other_maps_is_refused(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    loss = [dict(type="CrossEntropyLoss")] * 4
    pid = dict(type="PIDHead", in_channels=8, channels=8, loss_decode=loss, _delete_=True)
    model = MODELS.build(tiny_model(coarse_head=pid)).train()
    with pytest.raises(InputError, match="PIDHead trains on other maps than it predicts from"):
        model.loss(torch.randn(2, 3, 64, 64), make_samples(torch.zeros(2, 64, 64).long()))


@pytest.mark.parametrize(
    ("coarse_head", "extra"),
    [({}, set()), (ASPP, set()), (FCN_OF_LEVELS, set()), (ENC, {"loss_se"})],
)
def test_any_coarse_head_trains_and_predicts(
    tiny_model: ModelCfg, make_samples: MakeSamples, coarse_head: dict, extra: set[str]
) -> None:
    cfg = tiny_model(coarse_head=coarse_head)
    samples = make_samples(torch.randint(0, 6, (2, 64, 64)))
    model, losses = step(cfg, samples)
    coarse = {f"decode.coarse.{name}" for name in {"loss_ce", "acc_seg"} | extra}
    assert losses.keys() == coarse | {"decode.point.loss_ce", "decode.point.acc_point"}
    assert all(loss.isfinite() for loss in losses.values())
    head = model.decode_head
    for part in (model.backbone, model.neck, head.coarse_head, head.point_head):
        assert gradients(part).abs().sum() > 0
    assert all(p.grad is not None for p in head.parameters())

    calls = count_calls(head.coarse_head)
    result = model.eval()(torch.randn(2, 3, 64, 64), samples, mode="predict")
    assert len(calls) == 1
    assert [r.pred_sem_seg.data.shape for r in result] == [(1, 64, 64)] * 2
    assert all(r.seg_logits.data.shape == (6, 64, 64) for r in result)


@pytest.mark.parametrize("coarse_head", [{}, ENC])
def test_coarse_head_runs_once_a_training_step(
    tiny_model: ModelCfg, make_samples: MakeSamples, coarse_head: dict
) -> None:
    model = MODELS.build(tiny_model(coarse_head=coarse_head))
    calls = count_calls(model.decode_head.coarse_head)
    model(torch.randn(2, 3, 64, 64), make_samples(torch.randint(0, 6, (2, 64, 64))), mode="loss")
    assert len(calls) == 1


@pytest.mark.parametrize("wanted", ["coarse", "point"])
def test_what_each_loss_teaches(
    tiny_model: ModelCfg, make_samples: MakeSamples, wanted: str
) -> None:
    model = MODELS.build(tiny_model())
    samples = make_samples(torch.randint(0, 6, (2, 64, 64)))
    losses = model(torch.randn(2, 3, 64, 64), samples, mode="loss")
    losses[f"decode.{wanted}.loss_ce"].backward()
    head = model.decode_head
    assert gradients(model.backbone).abs().sum() > 0
    # the point head reads the coarse logits, so that its loss teaches the coarse head as well
    assert gradients(head.coarse_head).abs().sum() > 0
    assert (gradients(head.point_head).abs().sum() > 0) == (wanted == "point")


def test_a_detached_coarse_head_learns_from_its_own_loss_alone(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    model = MODELS.build(tiny_model(detach_coarse=True))
    samples = make_samples(torch.randint(0, 6, (2, 64, 64)))
    losses = model(torch.randn(2, 3, 64, 64), samples, mode="loss")
    losses["decode.point.loss_ce"].backward()
    assert gradients(model.decode_head.coarse_head).abs().sum() == 0
    assert gradients(model.backbone).abs().sum() > 0  # by way of the fine features


def test_point_loss_and_accuracy_are_those_of_the_points(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    model = MODELS.build(tiny_model())
    labels = torch.randint(0, 6, (2, 64, 64))
    labels[:, :, 40:] = 255
    coords = torch.rand(1, 50, 2)
    logits = torch.randn(2, 6, 50)
    head = model.decode_head
    head.point_sampler, head.point_head = Fixed(coords), Answering(logits)
    losses = model(torch.randn(2, 3, 64, 64), make_samples(labels), mode="loss")

    cells = (64 * coords[0]).long()
    targets = labels[:, cells[:, 1], cells[:, 0]]
    labeled = targets != 255
    assert 0 < labeled.sum() < labeled.numel()
    # MMSegmentation averages over all points, the ignored ones included
    expected = F.cross_entropy(logits, targets, ignore_index=255, reduction="sum") / 100
    torch.testing.assert_close(losses["decode.point.loss_ce"], expected)
    right = (logits.argmax(dim=1) == targets)[labeled].float().mean()
    torch.testing.assert_close(losses["decode.point.acc_point"], 100 * right)


def test_point_head_sees_features_and_coarse_logits_at_the_points(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    model = MODELS.build(tiny_model(in_index=[0, 2], in_channels=[8, 8]))
    coords = torch.rand(1, 30, 2)
    head = model.decode_head
    head.point_sampler = Fixed(coords)
    features, coarse = [], []
    model.neck.register_forward_hook(lambda _m, _a, output: features.extend(output))
    head.coarse_head.register_forward_hook(lambda _m, _a, output: coarse.append(output))
    calls = count_calls(head.point_head)
    samples = make_samples(torch.randint(0, 6, (2, 64, 64)))
    model(torch.randn(2, 3, 64, 64), samples, mode="loss")

    grid = (2 * coords - 1).unsqueeze(1).expand(2, -1, -1, -1)
    fine_0, fine_2, coarse_points = (
        F.grid_sample(maps, grid, align_corners=False).squeeze(2)
        for maps in (features[0], features[2], coarse[0])
    )
    ((seen_fine, seen_coarse),) = calls
    expected = torch.cat((fine_0, fine_2), dim=1)
    torch.testing.assert_close(seen_fine, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(seen_coarse, coarse_points, rtol=1e-3, atol=1e-4)


def test_several_fine_levels_train_and_predict(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    samples = make_samples(torch.randint(0, 6, (2, 64, 64)))
    model, losses = step(tiny_model(in_index=[0, 2], in_channels=[8, 8]), samples)
    assert model.decode_head.point_head.fcs[0].conv.in_channels == 8 + 8 + 6
    assert losses["decode.point.loss_ce"].isfinite()
    result = model.eval()(torch.randn(1, 3, 64, 64), samples[:1], mode="predict")
    assert result[0].pred_sem_seg.data.shape == (1, 64, 64)


@pytest.mark.parametrize("level", [0, 1])
def test_wrong_channels_name_the_level_and_both_numbers(tiny_model: ModelCfg, level: int) -> None:
    channels = [8, 8]
    channels[level] = 5
    model = MODELS.build(tiny_model(in_index=[0, 2], in_channels=channels)).eval()
    with pytest.raises(
        InputError, match=f"in_channels must be 8 for level {(0, 2)[level]} .* got 5"
    ):
        model(torch.randn(1, 3, 64, 64), mode="tensor")


@pytest.mark.parametrize("level", [4, -5])
def test_a_level_that_there_is_not_is_named(tiny_model: ModelCfg, level: int) -> None:
    model = MODELS.build(tiny_model(in_index=[0, level], in_channels=[8, 8])).eval()
    with pytest.raises(InputError, match=rf"in_index must be in 0 to 3, .* got {level};"):
        model(torch.randn(1, 3, 64, 64), mode="tensor")


@pytest.mark.parametrize(
    "levels", [dict(in_index=0, in_channels=[8, 8]), dict(in_index=[0, 1], in_channels=8)]
)
def test_levels_and_channels_that_do_not_match_are_refused(
    tiny_model: ModelCfg, levels: dict
) -> None:
    with pytest.raises(InputError, match="in_index"):
        MODELS.build(tiny_model(**levels))


def test_one_channel_trains_and_predicts(tiny_model: ModelCfg, make_samples: MakeSamples) -> None:
    labels = torch.randint(0, 2, (2, 64, 64))
    labels[:, :8] = 255
    model, losses = step(tiny_model(**BINARY), make_samples(labels))
    assert all(loss.isfinite() for loss in losses.values())
    assert 0 <= losses["decode.point.acc_point"] <= 100
    for part in (model.backbone, model.decode_head.coarse_head, model.decode_head.point_head):
        assert gradients(part).abs().sum() > 0
    model.eval()
    (result,) = model(torch.randn(1, 3, 64, 64), make_samples(labels[:1]), mode="predict")
    probability = result.seg_logits.data
    assert probability.shape == (1, 64, 64)
    assert torch.equal(result.pred_sem_seg.data, (probability > 0.3).float())


def test_accuracy_of_one_channel_follows_the_threshold(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    model = MODELS.build(tiny_model(**BINARY, threshold=0.8))
    labels = torch.ones(1, 64, 64, dtype=torch.int64)
    head = model.decode_head
    # sigmoid(1) = 0.73, sigmoid(2) = 0.88
    head.point_sampler = Fixed(torch.rand(1, 4, 2))
    head.point_head = Answering(torch.tensor([[[1.0, 1.0, 1.0, 2.0]]]))
    losses = model(torch.randn(1, 3, 64, 64), make_samples(labels), mode="loss")
    assert losses["decode.point.acc_point"] == 25


@pytest.mark.parametrize(
    ("settings", "loss_decode"),
    [
        ({}, dict(type="CrossEntropyLoss")),
        ({}, dict(type="CrossEntropyLoss", avg_non_ignore=True)),
        ({}, dict(type="CrossEntropyLoss", class_weight=[1.0, 1.0, 2.0, 1.0, 1.0, 1.0])),
        ({}, dict(type="CrossEntropyLoss", use_sigmoid=True)),
        ({}, dict(type="DiceLoss")),
        ({}, dict(type="LovaszLoss", reduction="none")),
        ({}, dict(type="LovaszLoss", per_image=True)),
        (dict(num_classes=2, out_channels=1), dict(type="CrossEntropyLoss", use_sigmoid=True)),
    ],
)
def test_images_ignored_altogether_give_finite_losses(
    tiny_model: ModelCfg, make_samples: MakeSamples, settings: dict, loss_decode: dict
) -> None:
    cfg = tiny_model(**settings, loss_decode=loss_decode, coarse_head=dict(loss_decode=loss_decode))
    model, losses = step(cfg, make_samples(torch.full((2, 64, 64), 255)))
    assert all(loss.isfinite() for loss in losses.values())
    assert any(name.startswith("decode.coarse.loss") for name in losses)
    assert any(name.startswith("decode.point.loss") for name in losses)
    assert gradients(model).isfinite().all()


def test_one_channel_with_no_label_at_the_points_alone(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    labels = torch.full((1, 64, 64), 255)
    labels[:, 32:] = 1
    model = MODELS.build(tiny_model(**BINARY))
    model.decode_head.point_sampler = Fixed(torch.rand(1, 20, 2) / 2)
    losses = model(torch.randn(1, 3, 64, 64), make_samples(labels), mode="loss")
    assert losses["decode.point.loss_ce"] == 0
    assert losses["decode.coarse.loss_ce"] > 0


def test_several_losses_are_taken_at_the_points(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    samples = make_samples(torch.randint(0, 6, (2, 64, 64)))
    losses = [
        dict(type="CrossEntropyLoss"),
        dict(type="DiceLoss"),
        dict(type="LovaszLoss", reduction="none"),
    ]
    _, taken = step(tiny_model(loss_decode=losses), samples)
    names = {name for name in taken if name.startswith("decode.point.loss")}
    assert names == {f"decode.point.{name}" for name in ("loss_ce", "loss_dice", "loss_lovasz")}
    assert all(taken[name].isfinite() for name in names)


def test_losses_of_the_same_name_add_up(tiny_model: ModelCfg, make_samples: MakeSamples) -> None:
    samples = make_samples(torch.randint(0, 6, (2, 64, 64)))
    model = MODELS.build(tiny_model())
    head = model.decode_head
    head.point_sampler = Fixed(torch.rand(1, 40, 2))
    head.point_head = Answering(torch.randn(2, 6, 40))
    images = torch.randn(2, 3, 64, 64)
    once = model(images, samples, mode="loss")["decode.point.loss_ce"]
    parts = [dict(type="CrossEntropyLoss", loss_weight=weight) for weight in (0.25, 0.75)]
    head.loss_decode = nn.ModuleList(MODELS.build(part) for part in parts)
    added = model(images, samples, mode="loss")["decode.point.loss_ce"]
    torch.testing.assert_close(added, once)


def test_half_precision_under_autocast(tiny_model: ModelCfg, make_samples: MakeSamples) -> None:
    model = MODELS.build(tiny_model())
    head = model.decode_head
    drawn = []
    sampler = head.point_sampler

    def spy(coarse_logits: Tensor, image_size: tuple[int, int]) -> Tensor:
        drawn.append(sampler(coarse_logits, image_size=image_size))
        return drawn[-1]

    head.point_sampler = spy
    samples = make_samples(torch.randint(0, 6, (2, 64, 64)))
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(torch.randn(2, 3, 64, 64), samples, mode="loss")
        total, _ = model.parse_losses(losses)
    total.backward()
    assert drawn[0].dtype == torch.float32
    assert all(loss.isfinite() for loss in losses.values())
    assert gradients(model).isfinite().all()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        result = model.eval()(torch.randn(2, 3, 64, 64), samples, mode="predict")
    assert all(r.seg_logits.data.dtype == torch.float32 for r in result)


def record_sizes(head: PointRendHead) -> list[tuple[int, int]]:
    sizes: list[tuple[int, int]] = []
    renderer = head.renderer

    def spy(*args, size: tuple[int, int]) -> Tensor:
        sizes.append(tuple(size))
        return renderer(*args, size=size)

    head.renderer = spy
    return sizes


def test_renders_the_padded_input_and_predicts_the_image(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    cfg = tiny_model()
    cfg.data_preprocessor.test_cfg = dict(size_divisor=32)
    model = MODELS.build(cfg).eval()
    sizes = record_sizes(model.decode_head)
    samples = make_samples(torch.zeros(1, 50, 70, dtype=torch.int64))
    image = torch.zeros(3, 50, 70, dtype=torch.uint8)
    (result,) = model.test_step(dict(inputs=[image], data_samples=samples))
    assert sizes == [(64, 96)]
    assert result.pred_sem_seg.data.shape == (1, 50, 70)


@pytest.mark.parametrize("size", [(64, 64), (61, 37), (9, 130), (1, 1)])
def test_any_image_size_is_rendered_without_padding(
    tiny_model: ModelCfg, size: tuple[int, int]
) -> None:
    model = MODELS.build(tiny_model()).eval()
    sizes = record_sizes(model.decode_head)
    (result,) = model(torch.randn(1, 3, *size), mode="predict")
    assert sizes == [size]
    assert result.pred_sem_seg.data.shape == (1, *size)


def test_sliding_window_renders_every_window(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    cfg = tiny_model()
    cfg.test_cfg = dict(mode="slide", crop_size=(32, 32), stride=(24, 24))
    cfg.data_preprocessor.test_cfg = dict(size_divisor=8)
    model = MODELS.build(cfg).eval()
    sizes = record_sizes(model.decode_head)
    samples = make_samples(torch.zeros(1, 50, 70, dtype=torch.int64))
    image = torch.zeros(3, 50, 70, dtype=torch.uint8)
    (result,) = model.test_step(dict(inputs=[image], data_samples=samples))
    # windows of a padded input of 56 x 72
    assert sizes == [(32, 32)] * 6
    assert result.pred_sem_seg.data.shape == (1, 50, 70)


def test_forward_renders_four_times_the_finest_level(tiny_model: ModelCfg) -> None:
    model = MODELS.build(tiny_model()).eval()
    assert model(torch.randn(2, 3, 64, 96), mode="tensor").shape == (2, 6, 64, 96)


def test_a_few_steps_on_shapes_bring_the_loss_down(tiny_model: ModelCfg) -> None:
    pipeline = [dict(type=t) for t in ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs")]
    dataset = DATASETS.build(dict(type="ShapesDataset", size=64, length=4, pipeline=pipeline))
    items = [dataset[k] for k in range(4)]
    model = MODELS.build(tiny_model(channels=16))
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    history = []
    for _ in range(25):
        batch = {key: [item[key] for item in items] for key in ("inputs", "data_samples")}
        losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
        total, logs = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append({name: value.item() for name, value in logs.items()})
    for name in ("decode.coarse.loss_ce", "decode.point.loss_ce"):
        assert history[-1][name] < 0.8 * history[0][name]
