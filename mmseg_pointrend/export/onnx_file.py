"""Writing a trained model as one ONNX file, and comparing what runs it with PyTorch."""

import json
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from ..errors import InputError
from ..files import replacing
from ..inference.onnx_model import METADATA_KEY, OnnxModel
from ..inference.torch_model import TorchModel
from ..version import __version__
from .graph import PixelGraph, resize_of
from .trace import one_line, trace

# Expected share of equal labels; rounding makes a difference where two logits tie.
AGREEMENT = 0.9999


class Exported(NamedTuple):
    """The result of an export."""

    path: Path
    model: TorchModel  # what it was made of
    graph: PixelGraph  # what the file computes, in PyTorch
    size: tuple[int, int] | None  # (H, W) of its input; None if it takes any size


def export_model(
    cfg: Config,
    weights: str | Path,
    path: str | Path,
    size: tuple[int, int] | None = None,
    logits: bool = False,
    allow_partial: bool = False,
    trust: bool = False,
) -> Exported:
    """Write a trained model as one ONNX graph at ``path``.

    It takes RGB pixels, (B, 3, H, W), uint8, and gives labels, (B, H, W), int64. The config's test
    pipeline and data preprocessor become part of it.

    Args:
        cfg, weights: Config of the model, and its checkpoint file.
        allow_partial, trust: As of :func:`~mmseg_pointrend.load_weights`.
        size (tuple[int, int], optional): (H, W) of the one image that the graph takes at a time;
            all of its shapes are fixed then. Defaults to None: any batch, height and width.
        logits (bool): Whether the graph returns the logits, (B, C, H, W), float32, too. Defaults to
            False.

    Raises:
        InputError: If the checkpoint cannot be read or does not fit, the model or its test pipeline
            does what a graph cannot express, or the file cannot be written.
    """
    import onnxscript  # noqa: F401  (of the extra [export]; better now than after minutes)

    path, resize = Path(path), resize_of(cfg)
    model = TorchModel(cfg, weights, device="cpu", allow_partial=allow_partial, trust=trust)
    graph = PixelGraph(model.model.requires_grad_(False), resize, logits).eval()
    program = trace(graph, size)
    with one_line("torch.onnx.export"):
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=18,  # the oldest that it writes; whatever runs ONNX today runs it
            input_names=["images"],
            output_names=["labels", "logits"] if logits else ["labels"],
            verbose=False,
        )
    batch, height, width = ("B", "H", "W") if size is None else (1, *size)
    metadata = {
        "version": __version__,
        "classes": list(model.classes),
        "palette": [list(map(int, color)) for color in model.palette],
        "input": f"images: RGB, ({batch}, 3, {height}, {width}), uint8",
        "preprocessing": {"in_graph": True, "resize": resize and resize._asdict()},
    }
    onnx.model.metadata_props[METADATA_KEY] = json.dumps(metadata)
    with replacing(path) as partial:
        onnx.save(partial, external_data=False)
    return Exported(path, model, graph, size)


def verify(exported: Exported, images: Sequence[str | Path]) -> None:
    """Run a file in ONNX Runtime, and in OpenVINO if it is installed; compare with PyTorch.

    Prints a table of the shares of equal labels and the times. The images, which the test pipeline
    loads, are tried at the size of the graph, or at their own and three others. Raises an
    InputError if one cannot be read, or fewer than 99.99 % of its labels are PyTorch's.
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
    # The others are odd, which strides do not divide.
    others = [(int(height * scale) | 1, int(width * scale) | 1) for scale in (0.6, 1.3, 2)]
    return [(height, width), *others]
