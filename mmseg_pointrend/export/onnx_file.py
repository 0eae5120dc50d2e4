"""Writing a trained model as one ONNX file."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config

from ..errors import InputError
from ..files import replacing
from ..inference.onnx_model import METADATA_KEY
from ..inference.torch_model import TorchModel
from ..version import __version__
from .graph import PixelGraph, resize_of
from .trace import one_line, trace

# The oldest that the exporter writes; whatever runs ONNX today runs it.
OPSET = 18


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
    """Write a trained model as one ONNX graph.

    It takes RGB pixels, (B, 3, H, W), uint8, and gives labels, (B, H, W), int64.

    Args:
        cfg (Config): Config of the model; its test pipeline and data preprocessor become part of
            the graph.
        weights (str | Path): Checkpoint file.
        path (str | Path): File to write.
        size (tuple[int, int], optional): (H, W) of the one image that the graph takes at a time;
            all of its shapes are fixed then. Defaults to None: any batch, height and width.
        logits (bool): Whether the graph returns the logits, (B, C, H, W), float32, too. Defaults to
            False.
        allow_partial (bool): Whether to go on if the checkpoint lacks weights. Defaults to False.
        trust (bool): Whether to run code that the checkpoint carries. Defaults to False.

    Raises:
        InputError: If the checkpoint cannot be read or does not fit, the model or its test pipeline
            does what a graph cannot express, or the file cannot be written.
    """
    for package in ("onnx", "onnxscript"):
        if not find_spec(package):
            raise InputError(f"{package} is not installed; pip install 'mmseg-pointrend[export]'.")
    path, resize = Path(path), resize_of(cfg)
    if path.is_dir():
        raise InputError(f"path must be a file to write, got the folder {path}.")
    model = TorchModel(cfg, weights, device="cpu", allow_partial=allow_partial, trust=trust)
    graph = PixelGraph(model.model.requires_grad_(False), resize, logits).eval()
    program = trace(graph, size)
    with one_line("torch.onnx.export"):
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
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
