"""How label maps agree with the truth: on whole images, at boundaries, by distance from them.

The letters used for shapes: K classes, V label maps that are compared, R = 2 + len(DISTANCES) rows
of counts: the whole image, the boundary of Boundary IoU, and the bands around true boundaries.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch

from ..evaluation.boundary_iou_metric import BoundaryIoUMetric, count_overlap

DISTANCES = (1, 2, 4, 8, 16, 32)  # widths of the bands in pixels
WHOLE, BOUNDARY, FIRST_BAND = 0, 1, 2


class Scorer:
    """Counts where label maps agree with the truth, with the settings of a Boundary IoU metric."""

    def __init__(self, classes: Sequence[str], metric: BoundaryIoUMetric) -> None:
        self.ignore_index = metric.ignore_index
        self._num_labels = len(classes) + 1
        self._metric = copy(metric)
        self._metric.trimap_widths = DISTANCES
        self._metric.dataset_meta = {"classes": classes}

    def count(self, truth: np.ndarray, labels: np.ndarray, name: str) -> np.ndarray:
        """Intersections and unions, (R, 2, K), of label maps (H, W) of the image ``name``."""
        label, pred = torch.from_numpy(truth).long(), torch.from_numpy(labels).long()
        near = self._metric.count(label, pred, name)
        scored = label != self.ignore_index
        whole = count_overlap((label + 1) * scored, (pred + 1) * scored, self._num_labels)
        return torch.cat((whole[None, :, 1:], near)).numpy()


def iou(counts: np.ndarray) -> np.ndarray:
    """IoU in percent, (..., K), of counts (..., 2, K); nan where a class does not occur."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100 * counts[..., 0, :] / counts[..., 1, :]


def mean(values: np.ndarray) -> float:
    """Mean over the classes that occur; nan if none does."""
    return float(np.nanmean(values)) if not np.isnan(values).all() else np.nan


def by_distance(counts: np.ndarray) -> list[tuple[str, list[float]]]:
    """Names of rings around true boundaries, and mean IoU there of each map of (V, R, 2, K).

    Few classes occur far from boundaries. One that not all maps have there would count as 0 in the
    mean of those that do, and not at all in the others', so it is left out.
    """
    bands = np.concatenate((counts[:, FIRST_BAND:], counts[:, :1]), axis=1)
    ious = iou(np.diff(bands, axis=1, prepend=0))
    ious[np.broadcast_to(np.isnan(ious).any(axis=0), ious.shape)] = np.nan
    nearest = (1, *(distance + 1 for distance in DISTANCES[:-1]))
    names = [f"{a}–{b}" if a < b else str(b) for a, b in zip(nearest, DISTANCES, strict=True)]
    names.append(f">{DISTANCES[-1]}")
    return [(name, [mean(values) for values in ious[:, k]]) for k, name in enumerate(names)]
