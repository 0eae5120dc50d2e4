import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_pointrend import (
    DenseRenderer,
    InputError,
    LabelEncoderDecoder,
    PointRendHead,
    SparseRenderer,
)
from mmseg_pointrend import segmentors as segmentor
from mmseg_pointrend.segmentors import FLIPPED, use_label_segmentor

CONFIG = Path(__file__).parents[1] / "configs" / "pointrend_r18_shapes.py"
COARSE_CONFIG = CONFIG.with_name("fpn_r18_shapes.py")
SMALL = {
    "backbone": dict(base_channels=4, stem_channels=8),
    "neck": dict(in_channels=[4, 8, 16, 32], out_channels=8),
    "decode_head": dict(
        coarse_head=dict(in_channels=[8] * 4, channels=8), in_channels=8, channels=8
    ),
}


def config(**head) -> Config:
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(dict(model=SMALL))
    cfg.merge_from_dict({"model.decode_head": head})
    return cfg


def build(model: dict, **overrides) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build({**copy.deepcopy(model), **overrides}).eval().requires_grad_(False)
    model.decode_head.misfit = None
    for parameter in model.decode_head.parameters():  # labels of any kind, everywhere
        parameter.copy_(0.6 * torch.randn_like(parameter))
    return model


def samples(*metas: dict) -> list[SegDataSample]:
    whole = dict(ori_shape=(64, 96), img_shape=(64, 96), pad_shape=(64, 96))
    return [SegDataSample(metainfo={**whole, **meta}) for meta in metas]


def labels(predictions: list[SegDataSample]) -> list[Tensor]:
    return [sample.pred_sem_seg.data for sample in predictions]


def images(batch: int = 1) -> Tensor:
    return 3 * torch.randn(batch, 3, 64, 96)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr(segmentor, "print_log", lambda text, logger: messages.append(text))
    return messages


PADDED = dict(img_shape=(50, 80), img_padding_size=(7, 9, 4, 10))
METAS = {
    "as it is": {},
    "padded": dict(PADDED, ori_shape=(50, 80)),
    "padded, under its other name": dict(
        img_shape=(50, 80), padding_size=(0, 16, 0, 14), ori_shape=(50, 80)
    ),
    "padded and enlarged": dict(PADDED, ori_shape=(123, 175)),
    "padded and reduced": dict(PADDED, ori_shape=(31, 44)),
    "flipped": dict(flip=True, flip_direction="horizontal"),
    "flipped upside down and enlarged": dict(
        PADDED, flip=True, flip_direction="vertical", ori_shape=(123, 175)
    ),
    "not flipped": dict(flip=False, flip_direction=None),
}


@pytest.mark.parametrize("meta", METAS.values(), ids=METAS)
@pytest.mark.parametrize("steps", [None, 1])
def test_labels_are_those_of_encoder_decoder(steps: int | None, meta: dict) -> None:
    renderer = dict(type="DenseRenderer", subdivision_steps=steps, subdivision_num_points=200)
    model = config(renderer=renderer).model
    inputs = images()
    expected = build(model).predict(inputs, samples(meta))
    actual = build(model, type="LabelEncoderDecoder").predict(inputs, samples(meta))
    (expected,), (actual,) = labels(expected), labels(actual)
    assert actual.dtype == torch.int64
    assert actual.shape == expected.shape
    assert len(actual.unique()) > 1
    # of 5000 pixels at most one that rounds to another label
    assert (actual != expected).sum() <= 1


@pytest.mark.parametrize("threshold", [None, 0.6])
def test_labels_of_one_channel(threshold: float | None) -> None:
    model = config(
        num_classes=2,
        out_channels=1,
        threshold=threshold,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=True),
    ).model
    inputs = images(2)
    expected = build(model).predict(inputs, samples({}, {}))
    actual = build(model, type="LabelEncoderDecoder").predict(inputs, samples({}, {}))
    for a, b in zip(labels(actual), labels(expected), strict=True):
        assert (a != b).sum() <= 1
        assert len(a.unique()) == 2


def test_images_of_a_batch_may_differ_in_their_original_size() -> None:
    model, inputs = config().model, images(2)
    metas = [METAS["padded and enlarged"], METAS["padded and reduced"]]
    expected = build(model).predict(inputs, samples(*metas))
    actual = build(model, type="LabelEncoderDecoder").predict(inputs, samples(*metas))
    for a, b in zip(labels(actual), labels(expected), strict=True):
        assert a.shape == b.shape
        assert (a != b).sum() <= 1


def test_labels_without_meta_information() -> None:
    model, inputs = build(config().model, type="LabelEncoderDecoder"), images()
    (alone,) = model.predict(inputs)
    (beside,) = model.predict(inputs, samples({}))
    assert torch.equal(alone.pred_sem_seg.data, beside.pred_sem_seg.data)


def test_either_renderer_gives_both_logits_and_labels() -> None:
    inputs, results = images(), []
    for kind in ("DenseRenderer", "SparseRenderer"):
        model = config(renderer=dict(type=kind, subdivision_num_points=99)).model
        for segmentor_type in ("EncoderDecoder", "LabelEncoderDecoder"):
            (result,) = build(model, type=segmentor_type).predict(inputs, samples({}))
            results.append(result.pred_sem_seg.data)
    assert all((result != results[0]).sum() <= 1 for result in results)


def test_meta_information_and_ground_truth_are_kept() -> None:
    model, (sample,) = build(config().model, type="LabelEncoderDecoder"), samples({"img_path": "a"})
    sample.gt_sem_seg = copy.deepcopy(model.predict(images())[0].pred_sem_seg)
    (prediction,) = model.predict(images(), [sample])
    assert prediction.img_path == "a"
    assert torch.equal(prediction.gt_sem_seg.data, sample.gt_sem_seg.data)
    assert prediction.cpu().pred_sem_seg.data.shape == (1, 64, 96)


def test_sliding_windows_go_the_dense_way(log: list[str]) -> None:
    model, inputs = config().model, images()
    model.test_cfg = dict(mode="slide", crop_size=(48, 64), stride=(16, 32))
    expected = build(model).predict(inputs, samples({}))
    sliding = build(model, type="LabelEncoderDecoder")
    for _ in range(2):
        actual = sliding.predict(inputs, samples({}))
    assert torch.equal(*labels(actual), *labels(expected))
    assert len(log) == 1
    assert "sliding windows average logits" in log[0]


def test_trains_as_encoder_decoder_does() -> None:
    inputs, (sample,) = images(), samples({})
    sample.gt_sem_seg = build(config().model).predict(images(), None)[0].pred_sem_seg
    losses = []
    for kind in ("EncoderDecoder", "LabelEncoderDecoder"):
        model = build(config().model, type=kind)
        torch.manual_seed(1)
        losses.append(model.loss(inputs, [sample]))
    assert losses[0] == losses[1]


def test_any_head_that_predicts_labels_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Config.fromfile(COARSE_CONFIG).model
    with pytest.raises(InputError, match="must have predict_labels, got a FPNHead"):
        MODELS.build({**model, "type": "LabelEncoderDecoder"})

    def predict_labels(self, inputs: list, batch_img_metas: list[dict], test_cfg: dict) -> list:
        return [torch.full(meta["ori_shape"], 3) for meta in batch_img_metas]

    head = MODELS.get("FPNHead")
    monkeypatch.setattr(head, "predict_labels", predict_labels, raising=False)
    labeler = MODELS.build({**model, "type": "LabelEncoderDecoder"}).eval()
    (prediction,) = labeler.predict(images(), samples({}))
    assert torch.equal(prediction.pred_sem_seg.data, torch.full((1, 64, 96), 3))


class Renamed(DenseRenderer):
    """Renders as a DenseRenderer does."""

    def __init__(self, points: int, **kwargs) -> None:
        super().__init__(subdivision_num_points=points, **kwargs)


class Smoothed(DenseRenderer):
    """Renders other logits than a DenseRenderer."""

    def __call__(self, *args, **kwargs) -> Tensor:
        return super().__call__(*args, **kwargs).roll(7, dims=-1)


class Upside(SparseRenderer):
    """Renders other labels than a SparseRenderer."""

    def __call__(self, *args, **kwargs) -> Tensor:
        return super().__call__(*args, **kwargs).flip(1)


def test_a_renderer_that_renders_as_ours_keeps_labels_sparse(log: list[str]) -> None:
    inputs, expected = images(), config(renderer=dict(subdivision_num_points=99)).model
    (expected,) = build(expected, type="LabelEncoderDecoder").predict(inputs, samples({}))
    cfg = config(renderer=dict(_delete_=True, type=Renamed, points=99))
    (actual,) = build(cfg.model, type="LabelEncoderDecoder").predict(inputs, samples({}))
    assert torch.equal(*labels([actual, expected]))
    assert "_seg_logits" not in actual
    assert not log


def test_a_renderer_that_renders_otherwise_is_asked_for_logits(log: list[str]) -> None:
    inputs, cfg = images(), config(renderer=dict(_delete_=True, type=Smoothed))
    (expected,) = build(cfg.model).predict(inputs, samples({}))
    (actual,) = build(cfg.model, type="LabelEncoderDecoder").predict(inputs, samples({}))
    assert torch.equal(*labels([actual, expected]))
    assert len(log) == 1
    assert "Smoothed renders logits only" in log[0]


def test_a_label_renderer_of_ones_own_is_used() -> None:
    inputs, results = images(), []
    for kind in (SparseRenderer, Upside):
        model = config(renderer=dict(_delete_=True, type=kind)).model
        (result,) = build(model, type="LabelEncoderDecoder").predict(inputs, samples({}))
        results.append(result.pred_sem_seg.data)
    assert torch.equal(results[1], results[0].flip(1))


@pytest.mark.parametrize(("direction", "dims"), [*FLIPPED.items()])
def test_flips_are_undone(direction: str, dims: tuple[int, ...]) -> None:
    model, inputs = build(config().model, type="LabelEncoderDecoder"), images()
    (plain,) = model.predict(inputs, samples({}))
    (flipped,) = model.predict(inputs, samples(dict(flip=True, flip_direction=direction)))
    assert torch.equal(flipped.pred_sem_seg.data[0], plain.pred_sem_seg.data[0].flip(dims))


def test_an_unknown_flip_is_refused() -> None:
    model = build(config().model, type="LabelEncoderDecoder")
    with pytest.raises(InputError, match=r"flip_direction must be one of .*, got 'sideways'"):
        model.predict(images(), samples(dict(flip=True, flip_direction="sideways")))


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ({}, "LabelEncoderDecoder"),
        ({"model.decode_head.renderer.type": "SparseRenderer"}, "LabelEncoderDecoder"),
        ({"model.decode_head.renderer.type": "MyRenderer"}, "LabelEncoderDecoder"),
        ({"model.test_cfg.mode": "slide"}, "EncoderDecoder"),
        ({"model.type": "MySegmentor"}, "MySegmentor"),
        ({"model.type": "mmseg.EncoderDecoder"}, "LabelEncoderDecoder"),
        ({"model.type": "RetrofitEncoderDecoder"}, "LabelEncoderDecoder"),
        ({"model.decode_head.type": PointRendHead}, "LabelEncoderDecoder"),
    ],
)
def test_configs_that_need_no_logits(overrides: dict, kind: str) -> None:
    cfg = config()
    cfg.merge_from_dict(overrides)
    assert use_label_segmentor(cfg).model.type == kind


def test_the_exchange_is_said(log: list[str]) -> None:
    use_label_segmentor(use_label_segmentor(config()))
    assert len(log) == 1
    assert "LabelEncoderDecoder in place of EncoderDecoder" in log[0]


def test_configs_without_a_point_head_are_left_alone() -> None:
    assert use_label_segmentor(Config.fromfile(COARSE_CONFIG)).model.type == "EncoderDecoder"
    assert issubclass(LabelEncoderDecoder, MODELS.get("EncoderDecoder"))


def test_leaves_cascades_as_they_are() -> None:
    model = dict(type="CascadeEncoderDecoder", decode_head=[dict(type="FPNHead")])
    assert use_label_segmentor(Config(dict(model=model))).model.type == "CascadeEncoderDecoder"
