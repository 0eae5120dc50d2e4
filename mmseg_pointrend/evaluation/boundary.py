"""Which pixels of a label map lie near a contour, and how well two maps agree there.

A label map is an integer tensor, (H, W), in which class c is written c + 1 and 0 means ignored: an
ignored pixel belongs to no class, is never counted and makes no contour.
"""

import cv2
import numpy as np
import torch
from torch import Tensor


def near_other_label(labels: Tensor, distance: int, with_border: bool = False) -> Tensor:
    """Find the pixels that have a pixel of another label within a chessboard distance.

    Ignored pixels count as no label: a mask that ends at them has no contour there, but two classes
    on both sides of an ignored strip narrower than the distance are near each other.

    Args:
        labels (Tensor): The label map, (H, W), uint8 or int16, on the CPU.
        distance (int): Distance in pixels, at least 1.
        with_border (bool): Whether what lies beyond the image is another label. Defaults to False.

    Returns:
        Tensor: A mask, (H, W), bool, False at ignored pixels.
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

    Args:
        label (Tensor): The true labels, of any shape, integers in [0, num_labels).
        pred (Tensor): The predicted labels, of the same shape and range.
        num_labels (int): Number of labels, the 0 of ignored pixels included.

    Returns:
        Tensor: Intersections and unions in pixels, (2, num_labels), int64. Those of label 0 carry
        no meaning.
    """
    agreed = label * (label == pred)
    label_area, pred_area, intersection = (
        torch.bincount(labels.flatten(), minlength=num_labels) for labels in (label, pred, agreed)
    )
    return torch.stack((intersection, label_area + pred_area - intersection))
