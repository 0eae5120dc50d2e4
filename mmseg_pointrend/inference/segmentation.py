"""What the segmentation of an image gives. Needs NumPy alone, as do users of exported models."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Segmentation:
    """The segmentation of one image.

    Attributes:
        labels (np.ndarray): Class indices, (H, W), int64.
        logits (np.ndarray, optional): Logits, (C, H, W), float32, where they were asked for.
            Defaults to None.
        points (list[np.ndarray], optional): The points of each rendering step, (N, 2), float32,
            (x, y) in [0, 1] over the image, where they were asked for; see
            :class:`~mmseg_pointrend.visualization.Explanation`. Defaults to None.
    """

    labels: np.ndarray
    logits: np.ndarray | None = None
    points: list[np.ndarray] | None = None
