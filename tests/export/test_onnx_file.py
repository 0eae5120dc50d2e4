"""Exported files give the labels of PyTorch."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exporting import CLASSES, PALETTE, picture, pixels, save_weights, small_config

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.export.onnx_file import Exported, export_model
from mmseg_pointrend.inference.onnx_model import OnnxModel

# Even, odd, smaller than the stride's square, larger than the example; one axis a single pixel.
SIZES = [(64, 64), (41, 53), (9, 5), (203, 330), (1, 40)]
RENDERER = "model__decode_head__renderer"


def optimized(path: Path) -> onnx.ModelProto:
    """A graph after ONNX Runtime's basic optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path.with_suffix(".basic.onnx"))
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath)


def test_gives_the_labels_and_logits_of_pytorch(exported: Exported) -> None:
    model = OnnxModel(exported.path, threads=1)
    for size in SIZES:
        image = picture(*size)
        with torch.no_grad():
            labels, logits = exported.graph(pixels(image))
        (result,) = model.segment_batch([model.load(image)], logits=True)
        np.testing.assert_array_equal(result.labels, labels[0].numpy())
        np.testing.assert_allclose(result.logits, logits[0].numpy(), atol=1e-3, rtol=1e-4)
        if image.size > 1000:
            assert len(np.unique(result.labels)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, (57, 70)])
def test_neighborhoods_of_several_levels_give_the_labels_of_pytorch(
    tmp_path: Path, size: tuple[int, int] | None
) -> None:
    backbone = {"num_stages": 2, "strides": (1, 2), "dilations": (1, 1), "out_indices": (0, 1)}
    head = {
        "coarse_head": {"in_channels": 8, "in_index": 1, "channels": 8},
        "in_channels": [4, 8],
        "in_index": [0, 1],
        "image_branch": {"type": "ImageBranch", "channels": (4, 6)},
        "point_features": {"type": "PointFeatures", "neighborhood": [1, 3, 3, 1]},
        "point_head": {"type": "PointMLP", "standardize": True},
    }
    cfg = small_config(model__backbone=backbone, model__decode_head=head)
    cfg.model.backbone.update(type="WithImage", of="ResNet")
    weights = save_weights(cfg, tmp_path / "weights.pth")
    result = export_model(cfg, weights, tmp_path / "model.onnx", size=size)
    model = OnnxModel(result.path, threads=1)
    for shape in [size] if size else [(64, 64), (57, 70), (203, 330)]:
        image = picture(*shape)
        with torch.no_grad():
            expected = result.graph(pixels(image))[0].numpy()
        found = model.segment_batch([model.load(image)])[0].labels
        assert (found == expected).mean() >= 0.9999
        assert len(np.unique(found)) > 1


def test_runs_batches_of_any_size(exported: Exported) -> None:
    model = OnnxModel(exported.path, threads=1)
    images = [picture(60, 70), picture(60, 70)[::-1], picture(60, 70)[:, ::-1]]
    together = model.segment_batch([model.load(image) for image in images])
    for image, result in zip(images, together, strict=True):
        np.testing.assert_array_equal(
            result.labels, model.segment_batch([model.load(image)])[0].labels
        )


def test_the_file_says_what_it_is(exported: Exported) -> None:
    model = OnnxModel(exported.path)
    assert model.classes == CLASSES
    assert model.palette == PALETTE
    assert exported.path.stat().st_size < 2**20
    assert [*exported.path.parent.glob("model*")] == [exported.path]
    properties = {entry.key: entry.value for entry in onnx.load(exported.path).metadata_props}
    known = json.loads(properties["mmseg_pointrend"])
    assert known["input"] == "images: RGB, (B, 3, H, W), uint8"
    assert known["preprocessing"] == {"in_graph": True, "resize": None}


def test_a_graph_of_fixed_size_has_nothing_dynamic(tmp_path: Path) -> None:
    renderer = dict(type="DenseRenderer", subdivision_num_points=4000)
    cfg = small_config(**{RENDERER: renderer})
    cfg.model.decode_head.point_features = dict(type="PointFeatures", neighborhood=3)
    cfg.model.decode_head.point_head = dict(type="PointMLP", standardize=True)
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type="Resize", scale=(72, 64)))
    weights = save_weights(cfg, tmp_path / "weights.pth")
    result = export_model(cfg, weights, tmp_path / "model.onnx", size=(50, 61))

    graph = optimized(result.path).graph
    (images,) = graph.input
    assert [dim.dim_value for dim in images.type.tensor_type.shape.dim] == [1, 3, 50, 61]
    operators = {node.op_type for node in graph.node}
    assert not operators & {"NonZero", "Loop", "If", "Shape", "Range", "ConstantOfShape"}
    constants = {
        constant.name: onnx.numpy_helper.to_array(constant) for constant in graph.initializer
    }
    counts = [constants[node.input[1]].item() for node in graph.node if node.op_type == "TopK"]
    # a step of 32x36 cells, and one of 4000 points in two rounds
    assert counts == [32 * 36, 3840, 160]

    image = picture(50, 61)
    with torch.no_grad():
        expected = result.graph(pixels(image))[0].numpy()
    model = OnnxModel(result.path)
    found = model.segment_batch([model.load(image)])[0].labels
    assert (found == expected).mean() >= 0.9999


def test_refuses_what_cannot_be_written(tmp_path: Path) -> None:
    cfg = small_config()
    weights = save_weights(cfg, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="cannot be written"):
        export_model(cfg, weights, tmp_path, size=(32, 32))
    cfg = small_config(**{RENDERER: dict(type="DenseRenderer", scale_factor=1.5)})
    with pytest.raises(InputError, match="scale_factor") as error:
        export_model(cfg, weights, tmp_path / "model.onnx")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model.onnx").exists()
