"""Comparing an exported model with the one that it comes from."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ..errors import InputError
from ..inference.images import read_image
from ..inference.onnx_model import OnnxModel
from .exporting import Exported

# Beside an image's own size; sizes are made odd, which is where strides leave remainders.
SCALES = (0.6, 1.3, 2)
# Share of labels in which rounding may make a difference where two logits, or margins, tie.
AGREEMENT = 0.9999
ROUNDS = 3


class Agreement(NamedTuple):
    """How an exported model does on one image of one size.

    Attributes:
        image (str): The image.
        size (tuple[int, int]): (H, W) that it was brought to.
        equal (float): Share of the pixels that have the same label in both.
        torch_seconds (float): Median time of PyTorch.
        exported_seconds (float): Median time of the exported model.
    """

    image: str
    size: tuple[int, int]
    equal: float
    torch_seconds: float
    exported_seconds: float


def verify(exported: Exported, images: Sequence[str | Path]) -> list[Agreement]:
    """Run an exported model beside PyTorch, print how they agree and what time they take.

    Args:
        exported (Exported): The model.
        images (Sequence[str | Path]): Image files; each is tried at its own size and at three
            others.

    Returns:
        list[Agreement]: A row for each image and size.

    Raises:
        InputError: If an image cannot be read, or fewer than 99.99 % of the labels of one agree.
    """
    run = _runner(exported)
    rows = []
    for path in images:
        image = read_image(path)
        rows += [_compare(exported, run, str(path), sized) for sized in _sizes(image)]
    _print(rows, exported)
    worst = min(rows, key=lambda row: row.equal)
    if worst.equal < AGREEMENT:
        height, width = worst.size
        raise InputError(
            f"{exported.path} labels only {worst.equal:.4%} of the pixels of {worst.image} at "
            f"{width}x{height} as PyTorch does; {AGREEMENT:.2%} are expected: do not use it."
        )
    return rows


def _runner(exported: Exported) -> Callable[[np.ndarray], np.ndarray]:
    """The file, as those who use it run it: from a BGR image, (H, W, 3), to labels, (H, W)."""
    if exported.format == "onnx":
        model = OnnxModel(exported.path, device="cpu", threads=torch.get_num_threads())
        return lambda image: model.segment_batch([image])[0].labels
    program = torch.export.load(exported.path).module()
    return lambda image: _labels(program, image)


def _labels(graph: Callable[[Tensor], Tensor | tuple], image: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
    with torch.no_grad():
        output = graph(pixels.unsqueeze(0))
    labels = output[0] if isinstance(output, tuple) else output
    return labels.squeeze(0).numpy()


def _compare(
    exported: Exported,
    run: Callable[[np.ndarray], np.ndarray],
    name: str,
    image: np.ndarray,
) -> Agreement:
    # the first run of each also warms up
    equal = (run(image) == _labels(exported.graph, image)).mean()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for side, taken in zip((partial(_labels, exported.graph), run), seconds, strict=True):
            start = time.perf_counter()
            side(image)
            taken.append(time.perf_counter() - start)
    return Agreement(name, image.shape[:2], float(equal), *map(median, seconds))


def _sizes(image: np.ndarray) -> Iterator[np.ndarray]:
    yield image
    for scale in SCALES:
        height, width = (int(length * scale) | 1 for length in image.shape[:2])
        yield cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def _print(rows: Sequence[Agreement], exported: Exported) -> None:
    other = {"onnx": "ONNX Runtime", "pt2": "torch.export.load"}[exported.format]
    table = Table("image", "size", "equal labels", "PyTorch ms", f"{other} ms", "ratio")
    for row in rows:
        table.add_row(
            Path(row.image).name,
            f"{row.size[1]}x{row.size[0]}",
            f"{row.equal:.4%}",
            f"{1e3 * row.torch_seconds:.0f}",
            f"{1e3 * row.exported_seconds:.0f}",
            f"{row.torch_seconds / row.exported_seconds:.2f}",
        )
    Console(width=120).print(table)
