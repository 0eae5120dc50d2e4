"""A data set of shapes that needs no files: its pictures are drawn when they are read."""

import re
from functools import lru_cache
from typing import Any

import cv2
from mmengine.fileio import BaseStorageBackend, register_backend
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .drawing import CLASSES, PALETTE, render_shapes


@lru_cache(maxsize=1)
def _png_pair(seed: int, index: int, height: int, width: int) -> tuple[bytes, bytes]:
    """Image and label as PNG. The pipeline asks for one right after the other."""
    level = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    pair = render_shapes(seed, index, (height, width))
    image, label = (cv2.imencode(".png", pixels, level)[1].tobytes() for pixels in pair)
    return image, label


@register_backend("shapes", prefixes="shapes")
class ShapesBackend(BaseStorageBackend):
    """Draws the file that a ``shapes://`` path names, for all that reads through MMEngine."""

    _path = re.compile(r"shapes://(\d+)x(\d+)/shapes_seed(\d+)_(\d+)(_label)?\.png")

    @classmethod
    def path(cls, seed: int, index: int, size: tuple[int, int], kind: str = "") -> str:
        """Name an image, or with ``kind='_label'`` its label map."""
        return f"shapes://{size[0]}x{size[1]}/shapes_seed{seed}_{index:06d}{kind}.png"

    def get(self, filepath: str) -> bytes:
        """Draw the PNG file of a path as :meth:`path` makes it."""
        *numbers, is_label = self._path.fullmatch(str(filepath)).groups()
        height, width, seed, index = map(int, numbers)
        image, label = _png_pair(seed, index, height, width)
        return label if is_label else image

    def get_text(self, filepath: str, encoding: str = "utf-8") -> str:
        raise NotImplementedError(f"{filepath} is a picture")


@DATASETS.register_module()
class ShapesDataset(BaseSegDataset):
    """Discs, polygons, rings, stars and strokes over textures, drawn on the fly.

    The pipeline is the usual one, with ``LoadImageFromFile`` and ``LoadAnnotations``. Splits are
    different seeds.

    Args:
        size (int | tuple[int, int]): (H, W) of the images, or the side of squares. At least 32.
            Defaults to 256.
        length (int): Number of images. Defaults to 1000.
        seed (int): Images with another seed are other images. At least 0. Defaults to 0.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset` other than those about files.
    """

    METAINFO = dict(classes=CLASSES, palette=PALETTE)

    def __init__(
        self, size: int | tuple[int, int] = 256, length: int = 1000, seed: int = 0, **kwargs: Any
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.length, self.seed = length, seed
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """What ``LoadImageFromFile`` and ``LoadAnnotations`` need, an image each."""
        return [
            dict(
                img_path=ShapesBackend.path(self.seed, index, self.size),
                seg_map_path=ShapesBackend.path(self.seed, index, self.size, "_label"),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for index in range(self.length)
        ]
