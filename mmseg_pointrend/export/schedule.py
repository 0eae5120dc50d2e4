"""A rendering in a fixed number of steps, as a graph needs it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from ..decode_head import PointRendHead
from ..errors import InputError
from ..rendering import DenseRenderer
from ..rendering.subdivision import Subdivision
from .graph import PixelGraph

# Images whose sizes leave all kinds of remainders when a backbone halves them.
PROBES = ((256, 256), (257, 271), (240, 249))


@contextmanager
def fixed_steps(graph: PixelGraph) -> Iterator[None]:
    """Have a model render in a fixed number of steps, if it renders at all.

    A graph has no loop that compares sizes, and needs none: the coarse map is as large as the image
    divided by a stride, rounded up, so that whatever the size the same number of steps reaches it.
    Only for images of a few pixels is it one too many, which then re-labels a pixel at their own
    size once more.

    Raises:
        InputError: If its renderer cannot do that, or the number depends on the size of the image.
    """
    head = graph.model.decode_head
    if not isinstance(head, PointRendHead):
        yield
        return
    if type(head.renderer) is not DenseRenderer:
        raise InputError(
            f"A {type(head.renderer).__name__} cannot be exported; set "
            "model.decode_head.renderer.type=DenseRenderer."
        )
    own = head.renderer.subdivision
    if own.scale_factor != int(own.scale_factor):
        raise InputError(
            f"scale_factor must be a whole number for an export, got {own.scale_factor}; set "
            "--cfg-options model.decode_head.renderer.scale_factor=2."
        )
    head.renderer.subdivision = replace(own, steps_needed=_count_steps(graph, own))
    try:
        yield
    finally:
        head.renderer.subdivision = own


def _count_steps(graph: PixelGraph, subdivision: Subdivision) -> int:
    counts = set()
    for probe in PROBES:
        inputs = graph.prepare(torch.zeros(1, 3, *probe))
        with torch.no_grad():
            coarse = graph.model.decode_head.coarse_logits(graph.model.extract_feat(inputs))
        counts.add(len(subdivision.sizes(coarse.shape[-2:], inputs.shape[-2:])))
    if len(counts) > 1:
        raise InputError(
            f"The number of rendering steps depends on the image's size ({sorted(counts)}), which "
            f"a graph cannot; set model.decode_head.renderer.subdivision_steps={max(counts)}."
        )
    return counts.pop()
