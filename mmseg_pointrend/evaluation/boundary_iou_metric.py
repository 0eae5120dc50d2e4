"""Boundary IoU and trimap IoU as an MMSegmentation metric.

Inside, a label map is an integer tensor, (H, W), in which class c is written c + 1 and 0 means
ignored: an ignored pixel belongs to no class, is never counted and makes no contour.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import METRICS
from prettytable import PrettyTable
from torch import Tensor

from ..errors import InputError


@METRICS.register_module()
class BoundaryIoUMetric(BaseMetric):
    """Boundary IoU, and IoU inside bands around the true boundaries (trimap IoU).

    Boundary IoU (Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation
    Evaluation", CVPR 2021, arXiv 2103.16562) is, for each class with true mask G and predicted
    mask P, ``|(G_d & G) & (P_d & P)| / |(G_d & G) | (P_d & P)|``, where G_d and P_d are the pixels
    within distance d of the contour of G and of P. The image border belongs to the contours.

    Trimap IoU at width w (Kohli et al., "Robust Higher Order Potentials for Enforcing Label
    Consistency", IJCV 2009) is the usual IoU over the pixels that have a true pixel of another
    class within chessboard distance w: at w = 1 one pixel on each side of a boundary.

    Counts are summed over the data set and means taken over the classes that occur, as in
    IoUMetric. The results are percentages, ``mBIoU`` and, for each width w, ``mIoU_{w}px``; nan
    where nothing is scored.

    Args:
        dilation_ratio (float): The distance d as a share of the image diagonal, at least one
            pixel. Defaults to 0.005, the authors' choice for street scenes.
        trimap_widths (Sequence[int]): Widths w in pixels. Defaults to (1, 2, 4, 8, 16).
        ignore_index (int): Label of the pixels that are not scored. Defaults to 255.
        collect_device, prefix: See :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        InputError: If a distance is not positive; while it counts, if prediction and truth differ
            in size, or a scored pixel has a label that is no class.
    """

    def __init__(
        self,
        dilation_ratio: float = 0.005,
        trimap_widths: Sequence[int] = (1, 2, 4, 8, 16),
        ignore_index: int = 255,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not 0 < dilation_ratio <= 1:
            raise InputError(f"dilation_ratio must be in (0, 1], got {dilation_ratio}.")
        if not all(isinstance(width, int) and width > 0 for width in trimap_widths):
            raise InputError(f"trimap_widths must be integers >= 1 (pixels), got {trimap_widths}.")
        self.dilation_ratio = dilation_ratio
        self.trimap_widths = sorted(set(trimap_widths))
        self.ignore_index = ignore_index

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch, of which the samples are read: for each image the ``data``
        of ``pred_sem_seg`` and ``gt_sem_seg``, (1, H, W)."""
        for sample in data_samples:
            (truth,), (pred,) = sample["gt_sem_seg"]["data"], sample["pred_sem_seg"]["data"]
            name = sample.get("img_path", "an image")
            self.results.append(self.count(truth.cpu(), pred.cpu(), name))

    def count(self, truth: Tensor, pred: Tensor, name: str) -> Tensor:
        """Intersections and unions of Boundary IoU and of each band, (1 + number of widths, 2, K),
        int64, of label maps (H, W) of the image ``name``, whole numbers of any dtype."""
        if pred.shape != truth.shape:
            raise InputError(
                f"{name}: prediction and truth must have the same size, got {tuple(pred.shape)} "
                f"and {tuple(truth.shape)}."
            )
        num_classes = len(self.dataset_meta["classes"])
        ignored = truth == self.ignore_index
        truth = _encode(truth, ignored, num_classes, f"{name}: the truth")
        pred = _encode(pred, ignored, num_classes, f"{name}: the prediction")

        # rounded as by mask_to_boundary of github.com/bowenc0221/boundary-iou-api
        distance = max(1, round(self.dilation_ratio * math.hypot(*truth.shape)))
        near = (
            labels * near_other_label(labels, distance, with_border=True)
            for labels in (truth, pred)
        )
        counts = [count_overlap(*near, num_classes + 1)]
        for width in self.trimap_widths:
            band = near_other_label(truth, width)
            counts.append(count_overlap(truth[band], pred[band], num_classes + 1))
        return torch.stack(counts)[..., 1:]

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """The metrics, with two decimals, of what :meth:`count` gave for each image."""
        names = ["BIoU", *(f"IoU_{width}px" for width in self.trimap_widths)]
        classes = self.dataset_meta["classes"]
        counts = sum(results, start=torch.zeros(len(names), 2, len(classes), dtype=torch.int64))
        ious = 100 * counts[:, 0].double() / counts[:, 1]

        table = PrettyTable()
        table.add_column("Class", list(classes))
        for name, iou in zip(names, ious, strict=True):
            table.add_column(name, np.round(iou.numpy(), 2))
        print_log(f"per class results near boundaries:\n{table}", logger="current")

        means = np.round(ious.nanmean(dim=1).numpy(), 2)
        return {f"m{name}": mean for name, mean in zip(names, means, strict=True)}


def near_other_label(labels: Tensor, distance: int, with_border: bool = False) -> Tensor:
    """Find the pixels that have a pixel of another label within a chessboard distance.

    Ignored pixels count as no label: a mask that ends at them has no contour there, but two classes
    on both sides of an ignored strip narrower than the distance are near each other. Beyond the
    image there is no label or, ``with_border``, another one.

    ``labels``, (H, W), are uint8 or int16, on the CPU, and ``distance`` is at least 1. Returns a
    mask, (H, W), bool, False at ignored pixels.
    """
    own = labels.numpy()
    side = 2 * min(distance, max(own.shape)) + 1
    square = np.ones((side, side), np.uint8)
    # The smallest and the largest label in the square differ; ignored pixels are neither.
    largest = cv2.dilate(own, square)
    filled = np.where(own > 0, own, np.iinfo(own.dtype).max)
    beyond = dict(borderType=cv2.BORDER_CONSTANT, borderValue=0) if with_border else {}
    smallest = cv2.erode(filled, square, **beyond)
    return torch.from_numpy((own > 0) & ((largest != own) | (smallest != own)))


def count_overlap(label: Tensor, pred: Tensor, num_labels: int) -> Tensor:
    """Count, for each label, the pixels where two maps agree and where either map has it.

    The maps have any one shape and integers in [0, num_labels), the 0 of ignored pixels included,
    whose counts carry no meaning. Returns (2, num_labels), int64.
    """
    agreed = label * (label == pred)
    label_area, pred_area, intersection = (
        torch.bincount(labels.flatten(), minlength=num_labels) for labels in (label, pred, agreed)
    )
    return torch.stack((intersection, label_area + pred_area - intersection))


def _encode(labels: Tensor, ignored: Tensor, num_classes: int, name: str) -> Tensor:
    """Write class c as c + 1 and ignored pixels as 0, in the smallest, fastest dtype that fits."""
    labels = labels.masked_fill(ignored, 0)
    lowest, highest = (extreme.item() for extreme in torch.aminmax(labels))
    if not (lowest >= 0 and highest < num_classes):  # also true of nan
        wrong = lowest if lowest < 0 else highest
        raise InputError(
            f"{name} must have labels 0 to {num_classes - 1}, got {wrong:g}; check the number of "
            "classes and ignore_index."
        )
    dtype = torch.uint8 if num_classes < 256 else torch.int16
    return (labels.to(dtype) + 1).masked_fill_(ignored, 0)
