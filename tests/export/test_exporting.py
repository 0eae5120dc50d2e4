"""Exported models give the labels of PyTorch."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from exporting import CLASSES, PALETTE, save_weights, small_config
from mmengine.config import Config, ConfigDict
from mmseg.registry import MODELS, TRANSFORMS

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.export import export_model, verify
from mmseg_pointrend.export.exporting import Exported
from mmseg_pointrend.export.formats import trace
from mmseg_pointrend.export.graph import PixelGraph, Resize, resize_of
from mmseg_pointrend.export.schedule import fixed_steps
from mmseg_pointrend.export.symbols import symbolic_sizes
from mmseg_pointrend.inference.onnx_model import OnnxModel
from mmseg_pointrend.inference.torch_model import TorchModel

PREPROCESSOR, RENDERER = "model__data_preprocessor__", "model__decode_head__renderer"
# Even, odd, smaller than the stride's square, larger than the example; one axis a single pixel.
SIZES = [(64, 64), (41, 53), (9, 5), (203, 330), (1, 40)]
# Runs a PT2 file where the package and MMSegmentation cannot be imported.
RUN_PT2 = """
import json, sys
for name in ("mmseg", "mmcv", "mmengine", "mmseg_pointrend"):
    sys.modules[name] = None
import numpy as np, torch
extra = {"mmseg_pointrend": ""}
module = torch.export.load(sys.argv[1], extra_files=extra).module()
labels = [module(torch.from_numpy(images)).numpy() for images in np.load(sys.argv[2]).values()]
np.savez(sys.argv[3], *labels)
print(json.loads(extra["mmseg_pointrend"])["classes"][1])
"""


def picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height * width)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def pixels(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)[None]))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    cfg = small_config()
    weights = save_weights(cfg, folder / "weights.pth")
    return export_model(cfg, weights, folder / "model.onnx", logits=True)


def test_onnx_gives_the_labels_and_logits_of_pytorch(exported: Exported) -> None:
    model = OnnxModel(exported.path, threads=1)
    for size in SIZES:
        image = picture(*size)
        with torch.no_grad():
            labels, logits = exported.graph(pixels(image))
        (result,) = model.segment_batch([image], logits=True)
        np.testing.assert_array_equal(result.labels, labels[0].numpy())
        np.testing.assert_allclose(result.logits, logits[0].numpy(), atol=1e-3, rtol=1e-4)
        if image.size > 1000:
            assert len(np.unique(result.labels)) > 1


def test_onnx_tells_how_it_resizes(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    model = OnnxModel(exported.path, threads=1)
    assert model.input_size((64, 64)) == (64, 64)
    for resize, size in (
        (dict(scale=[96, 32], keep_ratio=True), (32, 32)),
        (dict(scale=[96, 32], keep_ratio=False), (32, 96)),
    ):
        monkeypatch.setattr(model, "_resize", resize)
        assert model.input_size((64, 64)) == size


def test_onnx_runs_batches_of_any_size(exported: Exported) -> None:
    model = OnnxModel(exported.path, threads=1)
    images = [picture(60, 70), picture(60, 70)[::-1], picture(60, 70)[:, ::-1]]
    together = model.segment_batch(images)
    for image, result in zip(images, together, strict=True):
        np.testing.assert_array_equal(result.labels, model.segment_batch([image])[0].labels)


def test_the_file_says_what_it_is(exported: Exported) -> None:
    model = OnnxModel(exported.path)
    assert model.classes == CLASSES
    assert model.palette == PALETTE
    assert exported.path.stat().st_size < 2**20
    assert [*exported.path.parent.glob("model*")] == [exported.path]
    known = json.loads(model._session.get_modelmeta().custom_metadata_map["mmseg_pointrend"])
    preprocessing = known["preprocessing"]
    assert preprocessing["mean"] == pytest.approx([123.675, 116.28, 103.53])
    assert preprocessing["channels"] == "rgb"
    assert preprocessing["in_graph"] is True
    assert any("TensorRT" in warning for warning in exported.warnings)


def test_pt2_runs_without_this_package(tmp_path: Path) -> None:
    cfg = small_config()
    weights = save_weights(cfg, tmp_path / "weights.pth")
    result = export_model(cfg, weights, tmp_path / "model.pt2", format="pt2")
    images = {str(size): pixels(picture(*size)).numpy() for size in [(41, 53), (100, 64)]}
    np.savez(tmp_path / "images.npz", **images)
    files = [result.path, tmp_path / "images.npz", tmp_path / "labels.npz"]
    command = [sys.executable, "-c", RUN_PT2, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == CLASSES[1]
    given = np.load(tmp_path / "labels.npz").values()
    for image, labels in zip(images.values(), given, strict=True):
        np.testing.assert_array_equal(labels, result.graph(torch.from_numpy(image)).numpy())


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
        {"model__decode_head__renderer": dict(type="DenseRenderer", min_margin=0.1)},
    ],
)
def test_the_graph_is_what_predict_does(tmp_path: Path, overrides: dict) -> None:
    cfg = small_config(**overrides)
    model = TorchModel(cfg, save_weights(cfg, tmp_path / "weights.pth"), device="cpu")
    graph = PixelGraph(model.model).eval()
    with_logits = PixelGraph(model.model, logits=True).eval()
    for size in SIZES:
        image = picture(*size)
        expected = model.segment_batch([image])[0].labels
        (both,) = model.segment_batch([image], logits=True)
        np.testing.assert_array_equal(both.labels, expected)
        with torch.no_grad():
            logits = with_logits(pixels(image))[1][0].numpy()
            np.testing.assert_allclose(both.logits, logits, atol=1e-4)
            np.testing.assert_array_equal(graph(pixels(image))[0].numpy(), expected)
            # images of a few pixels, whose sizes fewer steps would reach, are left out
            with fixed_steps(graph), symbolic_sizes():
                np.testing.assert_array_equal(graph(pixels(image))[0].numpy(), expected)


@pytest.mark.parametrize("keep_ratio", [True, False])
@pytest.mark.parametrize("size", [(64, 48), (30, 120), (100, 99)])
def test_the_graph_resizes_as_the_pipeline_does(
    tmp_path: Path, keep_ratio: bool, size: tuple[int, int]
) -> None:
    cfg = small_config()
    step = dict(type="Resize", scale=(96, 64), keep_ratio=keep_ratio)
    cfg.test_dataloader.dataset.pipeline.insert(1, step)
    model = TorchModel(cfg, save_weights(cfg, tmp_path / "weights.pth"), device="cpu")
    graph = PixelGraph(model.model, resize_of(cfg)).eval()
    image = picture(*size)
    with torch.no_grad():
        labels = graph(pixels(image))[0].numpy()
    # OpenCV rounds the weights of its interpolation, so that a few gray values differ by one.
    assert (labels == model.segment_batch([image])[0].labels).mean() > 0.95
    expected = TRANSFORMS.build(step)(dict(img=image))["img"]
    given = resize_of(cfg).resized(pixels(image).float())
    assert (given - pixels(expected)).abs().max() <= 1


def test_sizes_after_resizing() -> None:
    assert Resize((2048, 1024), keep_ratio=True).size((1024, 2048)) == (1024, 2048)
    assert Resize((2048, 512), keep_ratio=True).size((375, 500)) == (512, 683)
    assert Resize((512, 2048), keep_ratio=True).size((500, 375)) == (683, 512)
    assert Resize((60, 40), keep_ratio=True).size((1, 300)) == (1, 60)
    assert Resize((60, 40), keep_ratio=False).size((7, 7)) == (40, 60)


def test_layers_that_upsample_give_what_they_gave(tiny_model: Callable[..., ConfigDict]) -> None:
    model = MODELS.build(tiny_model(align_corners=True)).eval()
    graph = PixelGraph(model, logits=True).eval()
    images = pixels(picture(70, 91))
    with torch.no_grad():
        expected = graph(images)[1]
        with symbolic_sizes():
            assert torch.equal(graph(images)[1], expected)


def test_refuses_what_has_no_graph(tmp_path: Path) -> None:
    def refused(message: str, cfg: Config, target: str = "x.onnx", **settings: object) -> None:
        weights = save_weights(cfg, tmp_path / "weights.pth")
        with pytest.raises(InputError, match=message) as error:
            export_model(cfg, weights, tmp_path / target, **settings)
        assert "\n" not in str(error.value)
        assert not (tmp_path / target).is_file()

    slide = dict(mode="slide", crop_size=(32, 32), stride=(16, 16))
    refused("model.test_cfg.mode=whole", small_config(model__test_cfg=slide))
    refused("size_divisor", small_config(**{PREPROCESSOR + "test_cfg": dict(size=(64, 50))}))
    cfg = small_config()
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type="RandomFlip", prob=0.5))
    refused("RandomFlip", cfg)
    cfg.test_dataloader.dataset.pipeline[1] = dict(type="Resize", scale=(9, 8), keep_ratio=True)
    refused("use --format onnx", cfg, format="pt2")
    renderer = dict(type="DenseRenderer", scale_factor=1.5)
    refused("must be a whole number", small_config(**{RENDERER: renderer}))
    refused("is none of onnx, pt2", small_config(), format="tflite")
    (tmp_path / "folder").mkdir()
    refused("is a folder", small_config(), target="folder")


def test_refuses_a_graph_that_holds_for_one_size(exported: Exported) -> None:
    class Halving:
        def resized(self, images: torch.Tensor) -> torch.Tensor:
            return images[..., : int(images.shape[-2]) // 2, :]

    with pytest.raises(InputError, match="This model cannot be exported") as error:
        trace(PixelGraph(exported.graph.model, Halving()).eval())
    assert "\n" not in str(error.value)


def test_verify_refuses_other_labels(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), picture(40, 50))
    rows = verify(exported, [path])
    assert [row.size for row in rows] == [(40, 50), (25, 31), (53, 65), (81, 101)]
    assert all(row.equal == 1 for row in rows)
    graph = exported.graph
    flipped = exported._replace(graph=lambda images: tuple(x.flip(-1) for x in graph(images)))
    with pytest.raises(InputError, match=r"model\.onnx labels only .*image\.png"):
        verify(flipped, [path])
    with pytest.raises(InputError, match="missing"):
        verify(exported, [tmp_path / "missing.png"])
