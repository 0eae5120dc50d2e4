"""A graph labels pixels as the model does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from exporting import picture, pixels, save_weights, small_config
from mmengine.config import Config
from mmseg.registry import MODELS, TRANSFORMS

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.export.graph import PixelGraph, Resize, resize_of
from mmseg_pointrend.export.trace import fixed_steps, symbolic_sizes
from mmseg_pointrend.inference.torch_model import TorchModel

PREPROCESSOR, RENDERER = "model__data_preprocessor__", "model__decode_head__renderer"
# Even, odd, smaller than the stride's square, larger than the example; one axis a single pixel.
SIZES = [(64, 64), (41, 53), (9, 5), (203, 330), (1, 40)]


def config_with(step: dict) -> Config:
    """A config with one more step between loading and packing."""
    cfg = small_config()
    cfg.test_dataloader.dataset.pipeline.insert(1, step)
    return cfg


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {PREPROCESSOR + "bgr_to_rgb": False},
        {PREPROCESSOR + "mean": None, PREPROCESSOR + "std": None},
        {PREPROCESSOR + "test_cfg": dict(size_divisor=32), PREPROCESSOR + "pad_val": 1},
        {"model__decode_head__align_corners": True},
        {RENDERER: dict(type="SparseRenderer", subdivision_steps=1, subdivision_num_points=60)},
        {"model__decode_head__num_classes": 2, "model__decode_head__out_channels": 1},
    ],
)
def test_the_graph_is_what_predict_does(tmp_path: Path, overrides: dict) -> None:
    cfg = small_config(**overrides)
    model = TorchModel(cfg, save_weights(cfg, tmp_path / "weights.pth"), device="cpu")
    graph = PixelGraph(model.model).eval()
    with_logits = PixelGraph(model.model, logits=True).eval()
    for size in SIZES:
        image = picture(*size)
        expected = model.segment_batch([model.load(image)])[0].labels
        (both,) = model.segment_batch([model.load(image)], logits=True)
        np.testing.assert_array_equal(both.labels, expected)
        with torch.no_grad():
            logits = with_logits(pixels(image))[1][0].numpy()
            np.testing.assert_allclose(both.logits, logits, atol=1e-4)
            np.testing.assert_array_equal(graph(pixels(image))[0].numpy(), expected)
            # what a graph for any size is made from
            with fixed_steps(graph), symbolic_sizes():
                np.testing.assert_array_equal(graph(pixels(image))[0].numpy(), expected)


@pytest.mark.parametrize("keep_ratio", [True, False])
@pytest.mark.parametrize("size", [(64, 48), (30, 120), (100, 99)])
def test_the_graph_resizes_as_the_pipeline_does(
    tmp_path: Path, keep_ratio: bool, size: tuple[int, int]
) -> None:
    step = dict(type="Resize", scale=(96, 64), keep_ratio=keep_ratio)
    cfg = config_with(step)
    model = TorchModel(cfg, save_weights(cfg, tmp_path / "weights.pth"), device="cpu")
    graph = PixelGraph(model.model, resize_of(cfg)).eval()
    image = picture(*size)
    with torch.no_grad():
        labels = graph(pixels(image))[0].numpy()
    # OpenCV rounds the weights of its interpolation, so that a few gray values differ by one.
    assert (labels == model.segment_batch([model.load(image)])[0].labels).mean() > 0.95
    expected = TRANSFORMS.build(step)(dict(img=image))["img"]
    given = resize_of(cfg).resized(pixels(image).float())
    assert (given - pixels(expected)).abs().max() <= 1


def test_sizes_after_resizing() -> None:
    assert Resize((2048, 1024), keep_ratio=True).size((1024, 2048)) == (1024, 2048)
    assert Resize((2048, 512), keep_ratio=True).size((375, 500)) == (512, 683)
    assert Resize((512, 2048), keep_ratio=True).size((500, 375)) == (683, 512)
    assert Resize((60, 40), keep_ratio=True).size((1, 300)) == (1, 60)
    assert Resize((60, 40), keep_ratio=False).size((7, 7)) == (40, 60)


@pytest.mark.parametrize(
    ("message", "overrides"),
    [
        ("model.test_cfg.mode=whole", dict(model__test_cfg=dict(mode="slide", stride=(16, 16)))),
        ("size_divisor", {PREPROCESSOR + "test_cfg": dict(size=(64, 50))}),
    ],
)
def test_refuses_models_that_have_no_graph(message: str, overrides: dict) -> None:
    model = MODELS.build(small_config(**overrides).model)
    with pytest.raises(InputError, match=message):
        PixelGraph(model)


def test_refuses_pipelines_that_a_graph_cannot_express() -> None:
    with pytest.raises(InputError, match="RandomFlip"):
        resize_of(config_with(dict(type="RandomFlip", prob=0.5)))
    for setting in (dict(imdecode_backend="tifffile"), dict(color_type="unchanged")):
        cfg = small_config()
        cfg.test_dataloader.dataset.pipeline[0].update(setting)
        with pytest.raises(InputError, match="An exported model takes RGB images"):
            resize_of(cfg)
