"""Scenes to render: label maps, and the coarse logits that a trained model would have of them."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmseg_pointrend.datasets.drawing import render_shapes
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.inputs import find_images

IGNORED = 255
# Scenes are drawn at this height, so that they are the same at any size.
DRAWN_HEIGHT = 512
WORST_CASES = ("constant", "ties", "checkerboard", "noise")


def label_map(size: tuple[int, int], annotations: str | None = None, seed: int = 0) -> np.ndarray:
    """Get a label map.

    Args:
        size (tuple[int, int]): (H, W).
        annotations (str, optional): Folder of label images, of which ``seed`` chooses one. Defaults
            to None: draw a scene of :class:`ShapesDataset`'s shapes.
        seed (int): Which scene. Defaults to 0.

    Returns:
        np.ndarray: Classes, (H, W), uint8. The same scene at any size of the same proportions.

    Raises:
        InputError: If there is no image in the folder.
    """
    if annotations is None:
        return _draw_shapes(size, seed)
    paths = sorted(find_images([annotations]))
    path: Path = paths[seed % len(paths)]
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2:
        raise InputError(f"{path} is no label image: one channel of class indices.")
    return cv2.resize(labels.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)


def coarse_logits(labels: np.ndarray, classes: int, stride: int = 4, seed: int = 0) -> Tensor:
    """Logits that a coarse head might have of a scene, (1, C, H / stride, W / stride), float32.

    The share of a coarse pixel that each class covers, blurred over two pixels as a network's
    logits are, times ten; and noise, of blobs eight pixels wide for what a network is unsure of and
    of single pixels a tenth as strong. So, as of a trained model, few pixels are uncertain, most of
    them at boundaries.

    Args:
        labels (np.ndarray): Classes, (H, W); those beyond ``classes`` wrap around.
        classes (int): Number of classes C.
        stride (int): Pixels of the label map to a coarse one. Defaults to 4.
        seed (int): Seed of the noise. Defaults to 0.
    """
    size = tuple(length // stride for length in labels.shape)
    shares = torch.zeros(classes, *size)
    for label in np.unique(labels[labels != IGNORED]).tolist():
        covered = torch.from_numpy((labels == label).astype(np.float32))
        shares[label % classes] += F.adaptive_avg_pool2d(covered[None], size)[0]
    kernel = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    shares = F.pad(shares.unsqueeze(1), (2, 2, 2, 2), mode="replicate")
    shares = F.conv2d(shares, torch.outer(kernel, kernel)[None, None]).transpose(0, 1)

    generator = torch.Generator().manual_seed(seed)
    blobs = torch.randn(1, classes, *(-(-n // 8) for n in size), generator=generator)
    blobs = F.interpolate(blobs, size=size, mode="bicubic")
    return 10 * shares + blobs + 0.1 * torch.randn(1, classes, *size, generator=generator)


def worst_logits(case: str, classes: int, size: tuple[int, int]) -> Tensor:
    """Logits without what makes rendering cheap: few boundaries, few uncertain pixels.

    Args:
        case (str): 'constant', one label everywhere; 'ties', all logits alike; 'checkerboard', two
            labels in turns; 'noise'.
        classes (int): Number of classes C, at least 2.
        size (tuple[int, int]): (h, w) of the coarse map.

    Returns:
        Tensor: Logits, (1, C, h, w), float32.
    """
    logits = torch.zeros(1, classes, *size)
    if case == "constant":
        logits[:, 0] = 8
    elif case == "checkerboard":
        y, x = torch.meshgrid(*map(torch.arange, size), indexing="ij")
        logits[:, :2] = 8 * torch.stack(((x + y) % 2, (x + y + 1) % 2))
    elif case == "noise":
        logits.normal_()
    return logits


def _draw_shapes(size: tuple[int, int], seed: int) -> np.ndarray:
    height, width = size
    drawn = (DRAWN_HEIGHT, max(32, round(DRAWN_HEIGHT * width / height)))
    _, labels = render_shapes(seed, 0, drawn)
    return cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
