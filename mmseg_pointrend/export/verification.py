"""Comparing an exported model with the one that it comes from."""

import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from ..errors import InputError
from ..inference.image_pipeline import ImagePipeline
from ..inference.onnx_model import OnnxModel
from .onnx_file import Exported

# Sizes to try beside an image's own; made odd, as strides do not divide odd sizes.
SCALES = (0.6, 1.3, 2)
# Expected share of equal labels; rounding makes a difference where two logits tie.
AGREEMENT = 0.9999

# From a BGR image, (H, W, 3), uint8, to labels, (H, W).
Segment = Callable[[np.ndarray], np.ndarray]


def verify(exported: Exported, cfg: Config, images: Sequence[str | Path]) -> None:
    """Run a file in ONNX Runtime, and in OpenVINO if it is installed; compare with PyTorch.

    Prints a table of the shares of equal labels and the times. The images, which the test pipeline
    of ``cfg`` loads, are tried at the size of the graph, or at their own and three others.

    Raises:
        InputError: If an image cannot be read, or a runtime gives fewer than 99.99 % of the labels
            of one as PyTorch does.
    """
    runtimes = {"PyTorch": _torch(exported), "ONNX Runtime": _onnx_runtime(exported.path)}
    if find_spec("openvino"):
        runtimes["OpenVINO"] = _openvino(exported.path)
    pipeline = ImagePipeline(cfg)
    table = Table("image", "size", "runtime", "equal labels", "ms")
    failures = []
    for path in images:
        for image in _sizes(pipeline.load(path)["img"], exported.size):
            size = f"{image.shape[1]}x{image.shape[0]}"
            expected = None
            for name, segment in runtimes.items():
                labels = segment(image)  # warms up as well
                start = time.perf_counter()
                segment(image)
                milliseconds = 1e3 * (time.perf_counter() - start)
                expected = labels if expected is None else expected
                equal = float((labels == expected).mean())
                table.add_row(Path(path).name, size, name, f"{equal:.4%}", f"{milliseconds:.0f}")
                if equal < AGREEMENT:
                    failures.append(f"{equal:.4%} in {name} on {path} at {size}")
    Console(width=120).print(table)
    if failures:
        raise InputError(
            f"{exported.path} must give at least {AGREEMENT:.2%} of PyTorch's labels, got "
            f"{failures[0]}; do not use it."
        )


def _torch(exported: Exported) -> Segment:
    def segment(image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            output = exported.graph(torch.from_numpy(_pixels(image)))
        return (output[0] if isinstance(output, tuple) else output).numpy()[0]

    return segment


def _onnx_runtime(path: Path) -> Segment:
    model = OnnxModel(path, device="cpu", threads=torch.get_num_threads())
    return lambda image: model.segment_batch([image])[0].labels


def _openvino(path: Path) -> Segment:
    import openvino

    # Without the hint it computes in bfloat16 where a CPU has it.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    settings["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
    model = openvino.Core().compile_model(path, "CPU", settings)
    return lambda image: model({"images": _pixels(image)})["labels"][0]


def _pixels(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[None, ..., ::-1].transpose(0, 3, 1, 2))


def _sizes(image: np.ndarray, size: tuple[int, int] | None) -> Iterator[np.ndarray]:
    if size is not None:
        yield cv2.resize(image, size[::-1])
        return
    yield image
    for scale in SCALES:
        height, width = (int(length * scale) | 1 for length in image.shape[:2])
        yield cv2.resize(image, (width, height))
