"""Comparing an exported model with the one that it comes from."""

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from ..errors import InputError
from ..inference.onnx_model import OnnxModel
from .onnx_file import Exported

# Sizes to try beside an image's own; made odd, as strides do not divide odd sizes.
SCALES = (0.6, 1.3, 2)
# Expected share of equal labels; rounding makes a difference where two logits tie.
AGREEMENT = 0.9999


def verify(exported: Exported, images: Sequence[str | Path]) -> None:
    """Run a file in ONNX Runtime, and in OpenVINO if it is installed; compare with PyTorch.

    Prints a table of the shares of equal labels and the times. The images, which the test pipeline
    loads, are tried at the size of the graph, or at their own and three others.

    Raises:
        InputError: If an image cannot be read, or a runtime gives fewer than 99.99 % of the labels
            of one as PyTorch does.
    """
    runtimes = _runtimes(exported)
    table = Table("image", "size", "runtime", "equal labels", "ms")
    failures = []
    for path in images:
        image = exported.model.load(path)["img"]
        for height, width in [exported.size] if exported.size else _sizes(*image.shape[:2]):
            resized = cv2.resize(image, (width, height))
            pixels = np.ascontiguousarray(resized[None, ..., ::-1].transpose(0, 3, 1, 2))
            expected = None
            for name, run in runtimes.items():
                labels = run(pixels)  # warms up as well
                start = time.perf_counter()
                run(pixels)
                milliseconds = f"{1e3 * (time.perf_counter() - start):.0f}"
                expected = labels if expected is None else expected
                equal, size = float((labels == expected).mean()), f"{width}x{height}"
                table.add_row(Path(path).name, size, name, f"{equal:.4%}", milliseconds)
                if equal < AGREEMENT:
                    failures.append(f"{equal:.4%} in {name} on {path} at {size}")
    Console(width=120).print(table)
    if failures:
        raise InputError(
            f"{exported.path} must give at least {AGREEMENT:.2%} of PyTorch's labels, got "
            f"{failures[0]}; do not use it."
        )


def _runtimes(exported: Exported) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Functions from RGB pixels, (1, 3, H, W), uint8, to labels, (1, H, W); PyTorch's is first."""

    @torch.no_grad()
    def in_pytorch(pixels: np.ndarray) -> np.ndarray:
        output = exported.graph(torch.from_numpy(pixels))
        return (output[0] if isinstance(output, tuple) else output).numpy()

    model, threads = exported.path, torch.get_num_threads()
    in_onnx_runtime = OnnxModel(model, device="cpu", threads=threads).run
    runtimes = {"PyTorch": in_pytorch, "ONNX Runtime": lambda pixels: in_onnx_runtime(pixels)[0]}
    if find_spec("openvino"):
        import openvino

        # Without the hint it computes in bfloat16 where a CPU has it.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        runtimes["OpenVINO"] = lambda pixels: compiled({"images": pixels})["labels"]
    return runtimes


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    others = [(int(height * scale) | 1, int(width * scale) | 1) for scale in SCALES]
    return [(height, width), *others]
