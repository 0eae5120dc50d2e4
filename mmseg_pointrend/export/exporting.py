"""Exporting a trained model."""

from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from ..decode_head import PointRendHead
from ..errors import InputError
from ..inference.torch_model import TorchModel
from ..version import __version__
from .formats import FORMATS, trace, write_onnx, write_pt2
from .graph import PixelGraph, resize_of, takes_rgb

# Most that TensorRT's TopK gives.
TENSORRT_TOPK = 3840


class Exported(NamedTuple):
    """What an export leaves.

    Attributes:
        path (Path): The file.
        format (str): Its format, 'onnx' or 'pt2'.
        graph (PixelGraph): What it computes, in PyTorch.
        warnings (list[str]): What may surprise its users, a line each.
    """

    path: Path
    format: str
    graph: PixelGraph
    warnings: list[str]


def export_model(
    cfg: Config,
    weights: str | Path,
    path: str | Path,
    format: str = "onnx",
    logits: bool = False,
    allow_partial: bool = False,
    trust: bool = False,
) -> Exported:
    """Write a trained model as one graph, from RGB pixels, (B, 3, H, W), uint8, to labels, (B, H,
    W), int64.

    Args:
        cfg (Config): Config of the model; its test pipeline and data preprocessor become part of
            the graph.
        weights (str | Path): Checkpoint file.
        path (str | Path): File to write.
        format (str): 'onnx', or 'pt2' for ``torch.export.load``. Defaults to 'onnx'.
        logits (bool): Whether the graph gives the logits, (B, C, H, W), float32, too. Defaults to
            False.
        allow_partial (bool): Whether to go on if the checkpoint lacks weights. Defaults to False.
        trust (bool): Whether to run code that the checkpoint carries. Defaults to False.

    Returns:
        Exported: The file, and what to compare it with.

    Raises:
        InputError: If the checkpoint cannot be read or does not fit, the model does what a graph
            cannot, or the file cannot be written.
    """
    if format not in FORMATS:
        raise InputError(f"format={format!r} is none of {', '.join(FORMATS)}.")
    path, resize = Path(path), resize_of(cfg)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the file to write.")
    if format == "pt2" and resize is not None and resize.keep_ratio:
        raise InputError(
            "The test pipeline resizes images and keeps their ratio, which PyTorch cannot load "
            "from a PT2 file in useful time; use --format onnx, or set "
            "test_dataloader.dataset.pipeline to one without Resize."
        )
    model = TorchModel(cfg, weights, device="cpu", allow_partial=allow_partial, trust=trust)
    graph = PixelGraph(model.model.requires_grad_(False), resize, logits).eval()
    program = trace(graph)
    metadata = {
        "version": __version__,
        "classes": list(model.classes),
        "palette": [list(map(int, color)) for color in model.palette],
        "input": "images: RGB, (B, 3, H, W), uint8",
        "preprocessing": _preprocessing(graph),
    }
    write = {"onnx": write_onnx, "pt2": write_pt2}[format]
    write(program, path, metadata)
    return Exported(path, format, graph, _warnings(graph))


def _preprocessing(graph: PixelGraph) -> dict:
    """What the graph does to pixels, for people and programs that want to know."""
    settings = graph.model.data_preprocessor
    normalizes = settings._enable_normalize
    return {
        "in_graph": True,
        "resize": None if graph.resize is None else graph.resize._asdict(),
        "channels": "rgb" if takes_rgb(settings) else "bgr",
        "mean": settings.mean.flatten().tolist() if normalizes else None,
        "std": settings.std.flatten().tolist() if normalizes else None,
        "padding": {**settings.test_cfg, "value": settings.pad_val} if settings.test_cfg else None,
    }


def _warnings(graph: PixelGraph) -> list[str]:
    head = graph.model.decode_head
    if not isinstance(head, PointRendHead):
        return []
    points = head.renderer.subdivision.num_points
    if points is None:
        largest = TENSORRT_TOPK * 16 * 16
        return [
            f"images of more than {largest} pixels have more than {TENSORRT_TOPK} points a step, "
            "which TensorRT's TopK does not take; for TensorRT set "
            f"model.decode_head.renderer.subdivision_num_points={TENSORRT_TOPK}."
        ]
    if points > TENSORRT_TOPK:
        return [
            f"{points} points a step are more than TensorRT's TopK takes, {TENSORRT_TOPK}; for "
            f"TensorRT set model.decode_head.renderer.subdivision_num_points={TENSORRT_TOPK}."
        ]
    return []
