"""PyTorch's graph of a model: of any size, or of one size with nothing dynamic in it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import torch
from mmseg.models.utils.wrappers import Upsample, resize
from torch import Tensor
from torch.export import Dim, ExportedProgram

from ..decode_head import PointRendHead
from ..errors import InputError
from .graph import PixelGraph

# A batch and sizes that no number in a network equals, so that none is taken for a constant; odd
# ones, so that resizing and padding are traced, which do no harm where they are not needed.
EXAMPLE = (2, 3, 201, 329)
# Largest K of TensorRT's TopK.
MAX_TOPK = 3840


def trace(graph: PixelGraph, size: tuple[int, int] | None = None) -> ExportedProgram:
    """Make a graph of a model that is on the CPU and in evaluation mode.

    With a ``size``, (H, W), it takes one image of that size, all of its shapes are numbers, and the
    K of each TopK over floating-point numbers is at most ``MAX_TOPK``. Without one it takes any
    batch, height and width. Raises an InputError if PyTorch cannot make it.
    """
    advice = "" if size else " A graph of one size may be had: --size H W."
    with torch.no_grad(), one_line("torch.export", advice):
        if size is not None:
            images = torch.zeros(1, 3, *size, dtype=torch.uint8)
            program = torch.export.export(graph, (images,), strict=False)
            return program.run_decompositions({torch.ops.aten.topk.default: split_topk})
        dynamic = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
        images = torch.zeros(EXAMPLE, dtype=torch.uint8)
        with fixed_steps(graph), symbolic_sizes():
            program = torch.export.export(graph, (images,), dynamic_shapes=(dynamic,), strict=False)
        # Checks with another input the conditions on sizes that EXAMPLE met: a graph for its size
        # alone would give wrong labels for others.
        program.module()(torch.zeros(1, 3, 109, 75, dtype=torch.uint8))
        return program


def split_topk(
    scores: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Tensor, Tensor]:
    """``torch.topk`` in rounds of at most ``MAX_TOPK``, each without what the last ones took.

    NotImplemented, which keeps the operator, where one round does or scores cannot be masked.
    """
    if k <= MAX_TOPK or not largest or not scores.is_floating_point():
        return NotImplemented
    rounds = []
    for start in range(0, k, MAX_TOPK):
        rounds.append(scores.topk(min(MAX_TOPK, k - start), dim))
        scores = scores.scatter(dim, rounds[-1].indices, -torch.inf)
    values, indices = zip(*rounds, strict=True)
    return torch.cat(values, dim), torch.cat(indices, dim)


@contextmanager
def fixed_steps(graph: PixelGraph) -> Iterator[None]:
    """Have a model render in a fixed number of steps, if it renders at all."""
    # A graph has no loop that compares sizes, and needs none: the coarse map is as large as the
    # image divided by a stride, rounded up, so that the same number of steps reaches any size. Only
    # for images of a few pixels is it one too many, which re-labels them at their own size again.
    head = graph.model.decode_head
    if not isinstance(head, PointRendHead):
        yield
        return
    own = head.renderer.subdivision
    if own.scale_factor != int(own.scale_factor):
        raise InputError(
            f"scale_factor must be a whole number for an export, got {own.scale_factor}; set "
            "--cfg-options model.decode_head.renderer.scale_factor=2."
        )
    inputs = graph.prepare(torch.zeros(1, *EXAMPLE[1:]))
    coarse = head.coarse_logits(graph.model.extract_feat(inputs))
    count = len(own.sizes(coarse.shape[-2:], inputs.shape[-2:]))
    with patch.object(head.renderer, "subdivision", replace(own, steps_needed=count)):
        yield


@contextmanager
def one_line(step: str, advice: str = "") -> Iterator[None]:
    """Raise what an exporter says in a hundred lines as one, and silence its other output."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:  # whatever a model does that a graph cannot, or they cannot yet
        cause = error.__cause__ or error
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else type(cause).__name__
        raise InputError(f"This model cannot be exported; {step} says: {reason}{advice}") from error
    finally:
        logger.setLevel(level)


@contextmanager
def symbolic_sizes() -> Iterator[None]:
    """Let the layers of MMSegmentation that upsample take symbols for sizes."""
    # They make numbers of them: Upsample to compute a size, resize to find out whether to warn.
    *others, _ = resize.__defaults__
    quiet = (*others, False)
    with patch.object(Upsample, "forward", _upsample), patch.object(resize, "__defaults__", quiet):
        yield


def _upsample(self: Upsample, maps: Tensor) -> Tensor:
    factor = self.scale_factor
    size = self.size or [
        length * int(factor) if factor == int(factor) else int(length * factor)
        for length in maps.shape[-2:]
    ]
    return resize(maps, size, None, self.mode, self.align_corners)
