"""Exported models in ONNX Runtime."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mmseg_pointrend import PointRendInferencer
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.onnx_model import OnnxModel

METADATA = dict(classes=["red", "green", "blue"], palette=[[255, 0, 0], [0, 255, 0], [0, 0, 255]])

# Runs where nothing but NumPy, OpenCV, Pillow, rich and ONNX Runtime is installed, or seems to be.
WITHOUT_TORCH = """
import sys

class Hiding:
    names = {"torch", "mmseg", "mmengine", "mmcv", "matplotlib", "yaml"}

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *args):
        hidden = name.partition(".")[0] in self.names
        return None if hidden else self.finder.find_spec(name, *args)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Hiding, sys.meta_path)

import numpy as np
import mmseg_pointrend
from mmseg_pointrend import PointRendInferencer
from mmseg_pointrend.inference.onnx_model import OnnxModel

image = np.zeros((4, 5, 3), dtype=np.uint8)
image[..., 0] = 255
assert (OnnxModel(sys.argv[1]).run(image[None].transpose(0, 3, 1, 2)[:, ::-1])[0] == 2).all()
assert (PointRendInferencer(sys.argv[1]).segment(image) == 2).all()
assert not hasattr(mmseg_pointrend, "__wrapped__")
try:
    from mmseg_pointrend import PointRendHead
except ImportError as error:
    assert "mmseg-pointrend[onedl]" in str(error), error
else:
    raise AssertionError("there is a PointRendHead")
assert not Hiding.names & sys.modules.keys()
"""


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """Write a model that labels each pixel by its brightest channel, and gives the channels as
    logits."""

    def write(logits: bool = True, metadata: object = METADATA) -> Path:
        nodes = [
            helper.make_node("Cast", ["images"], ["logits"], to=TensorProto.FLOAT),
            helper.make_node("ArgMax", ["logits"], ["labels"], axis=1, keepdims=0),
        ]
        pixels, maps = ["B", 3, "H", "W"], ["B", "H", "W"]
        outputs = [helper.make_tensor_value_info("labels", TensorProto.INT64, maps)]
        if logits:
            outputs.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, pixels))
        inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, pixels)]
        graph = helper.make_graph(nodes, "brightest", inputs, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        if metadata is not None:
            helper.set_model_props(model, {"mmseg_pointrend": json.dumps(metadata)})
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return path

    return write


def random_images(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def test_knows_its_classes(write_model: Callable[..., Path]) -> None:
    model = OnnxModel(write_model())
    assert model.classes == ("red", "green", "blue")
    assert model.palette == METADATA["palette"]


def test_gives_each_image_its_own_labels_and_logits(write_model: Callable[..., Path]) -> None:
    images = random_images((4, 5), (4, 5), (1, 1), (7, 3), (4, 5))
    results = PointRendInferencer(write_model()).segment_batch(images, logits=True)
    assert len(results) == len(images)
    for image, result in zip(images, results, strict=True):
        rgb = image[..., ::-1]
        np.testing.assert_array_equal(result.labels, rgb.argmax(axis=2))
        np.testing.assert_array_equal(result.logits, rgb.transpose(2, 0, 1))
        assert result.labels.dtype == np.int64
        assert result.logits.dtype == np.float32


def test_gives_no_logits_unless_asked(write_model: Callable[..., Path]) -> None:
    (result,) = PointRendInferencer(write_model(), device="cpu").segment_batch(
        random_images((4, 5))
    )
    assert result.logits is None
    assert PointRendInferencer(write_model()).segment_batch([]) == []


def test_serves_several_threads(write_model: Callable[..., Path]) -> None:
    model = OnnxModel(write_model(), threads=1)
    images = random_images(*[(20 + k, 30) for k in range(20)])
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda image: model.segment_batch([model.load(image)])[0], images))
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result.labels, image[..., ::-1].argmax(axis=2))


def test_runs_without_torch(write_model: Callable[..., Path]) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(write_model())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08" * 50])
def test_refuses_what_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.onnx is no ONNX model"):
        OnnxModel(path)


@pytest.mark.parametrize("metadata", [None, {}, [], dict(classes=3, palette=[])])
def test_refuses_models_of_others(write_model: Callable[..., Path], metadata: object) -> None:
    with pytest.raises(InputError, match=r"was not written by tools/export\.py"):
        OnnxModel(write_model(metadata=metadata))


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(InputError, match="no such model file"):
            OnnxModel(path)


def test_refuses_logits_that_it_has_not(write_model: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="--logits"):
        PointRendInferencer(write_model(logits=False))(random_images((4, 5)), logits=True)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 5), dtype=np.uint8),
        np.zeros((4, 5, 4), dtype=np.uint8),
        np.zeros((4, 5, 3), dtype=np.float32),
        np.zeros((0, 5, 3), dtype=np.uint8),
    ],
)
def test_refuses_arrays_that_are_no_images(
    write_model: Callable[..., Path], image: np.ndarray
) -> None:
    with pytest.raises(InputError, match="An image must be an array"):
        PointRendInferencer(write_model()).segment_batch([image])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(device="tpu"), "this ONNX Runtime has .*CPU"),
    ],
)
def test_refuses_settings(write_model: Callable[..., Path], settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        OnnxModel(write_model(), **settings)
