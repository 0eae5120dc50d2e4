"""What MMSegmentation does with sizes that a symbol cannot do."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from mmseg.models.utils.wrappers import Upsample, resize
from torch import Tensor


@contextmanager
def symbolic_sizes() -> Iterator[None]:
    """Let the layers of MMSegmentation that upsample take sizes that are symbols.

    Both take whole numbers from them, which would fix a graph to the size of the example image:
    ``Upsample`` to compute the size, ``resize`` to find out whether to warn.
    """
    *others, _ = resize.__defaults__
    quiet = (*others, False)
    with patch.object(Upsample, "forward", _upsample), patch.object(resize, "__defaults__", quiet):
        yield


def _upsample(self: Upsample, maps: Tensor) -> Tensor:
    size = self.size or [_times(length, self.scale_factor) for length in maps.shape[-2:]]
    return resize(maps, size, None, self.mode, self.align_corners)


def _times(length: int | torch.SymInt, factor: float) -> int | torch.SymInt:
    return length * int(factor) if factor == int(factor) else int(length * factor)
