"""The schedule of a rendering as a graph can hold it: for sizes that are symbols."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..decode_head import PointRendHead
from ..errors import InputError
from ..rendering import DenseRenderer
from ..rendering.subdivision import Subdivision
from .graph import PixelGraph, Size

# Images whose sizes leave all kinds of remainders when a backbone halves them.
PROBES = ((256, 256), (257, 271), (240, 249))


class FixedSubdivision:
    """A :class:`Subdivision` whose number of steps does not depend on the image.

    A graph has no loop that compares sizes, and needs none: the coarse map is as large as the image
    divided by a stride, rounded up, so that whatever the size the same number of steps reaches it.
    Only for images of a few pixels is it one too many, which then re-labels a pixel at their own
    size once more.

    Args:
        subdivision (Subdivision): The schedule to follow.
        steps (int): Its number of steps.

    Raises:
        InputError: If a step grows by no whole number.
    """

    def __init__(self, subdivision: Subdivision, steps: int) -> None:
        if subdivision.scale_factor != int(subdivision.scale_factor):
            raise InputError(
                f"scale_factor={subdivision.scale_factor} cannot be exported, only whole numbers "
                "can; set it with --cfg-options model.decode_head.renderer.scale_factor=2."
            )
        self._factor = int(subdivision.scale_factor)
        self._lands = subdivision.steps is None
        self._steps = steps
        self._num_points = subdivision.num_points

    def sizes(self, coarse: Size, target: Size) -> list[Size]:
        """See :meth:`Subdivision.sizes`."""
        sizes = []
        for step in range(1, self._steps + 1):
            size = tuple(length * self._factor**step for length in coarse)
            if self._lands:
                size = tuple(map(torch.sym_min, size, target))
            sizes.append(size)
        if self._lands and sizes:
            sizes[-1] = tuple(target)
        return sizes

    def points(self, grid: Size, target: Size) -> int | torch.SymInt:
        """See :meth:`Subdivision.points`."""
        wanted = self._num_points
        if wanted is None:
            height, width = target
            wanted = torch.sym_max(1, (height // 16) * (width // 16))
        return torch.sym_min(wanted, grid[0] * grid[1])


@contextmanager
def fixed_steps(graph: PixelGraph) -> Iterator[None]:
    """Have a model render in a fixed number of steps, if it renders at all.

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
    head.renderer.subdivision = FixedSubdivision(own, _count_steps(graph, own))
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
