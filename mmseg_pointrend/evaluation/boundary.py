"""Which pixels of a label map lie near a contour, and how well two maps agree there.

The letters used for shapes: H, W height and width of the image; K number of classes. A label map
is an integer tensor (H, W) in which class c is written c + 1 and 0 means ignored: an ignored pixel
belongs to no class, is never counted and makes no contour.

All classes are handled in one sweep over the map: a pixel lies within d pixels of the contour of
its own mask exactly if the square of side 2d + 1 around it holds another label, so that its
smallest and its largest label differ, or reaches beyond the image.
"""

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def dilation_in_pixels(size: tuple[int, int], ratio: float) -> int:
    """Convert a share of the diagonal of an image, (H, W), to pixels, at least one.

    Rounded as by ``mask_to_boundary`` of github.com/bowenc0221/boundary-iou-api.
    """
    return max(1, round(ratio * math.hypot(*size)))


def near_other_label(labels: Tensor, distances: Iterable[int]) -> dict[int, Tensor]:
    """Find the pixels that have a pixel of another label within a distance.

    The distance is the chessboard distance. Ignored pixels count as no label: a mask that ends at
    them has no contour there, but two classes on both sides of an ignored strip narrower than the
    distance are near each other. The image border is not looked at.

    Args:
        labels (Tensor): The label map, (H, W), any integer dtype; the smaller, the faster.
        distances (Iterable[int]): Distances in pixels, positive, in any order.

    Returns:
        dict[int, Tensor]: For each distance a mask (H, W) of dtype bool, False at ignored pixels.
    """
    labeled = labels > 0
    # The second plane turns the smallest label into the largest value, so one running maximum
    # finds both extremes, and the zeros of ignored pixels lose in both planes.
    mirrored = (torch.iinfo(labels.dtype).max - labels) * labeled
    own = torch.stack((labels, mirrored))

    height, width = labels.shape
    # A square larger than the image finds nothing more, and the zeros of the margin no label.
    radii = {distance: min(distance, max(height, width)) for distance in distances}
    margin = max(radii.values(), default=0)
    extremes = F.pad(own, (margin, margin, margin, margin))

    near, reached = {}, 0
    for distance, radius in sorted(radii.items()):
        # A square around every pixel of a square is a larger square: each distance continues from
        # the one before and uses up more of the margin.
        for dim in (-1, -2):
            extremes = _running_max(extremes, 2 * (radius - reached) + 1, dim)
        reached, rest = radius, margin - radius
        other = extremes[:, rest : rest + height, rest : rest + width] != own
        near[distance] = (other[0] | other[1]) & labeled
    return near


def near_image_border(labels: Tensor, distance: int) -> Tensor:
    """Mask (H, W), bool, of the pixels of a map within a positive distance of its border."""
    near = torch.zeros_like(labels, dtype=torch.bool)
    near[:distance] = near[-distance:] = True
    near[:, :distance] = near[:, -distance:] = True
    return near


def count_overlap(label: Tensor, pred: Tensor, num_labels: int) -> Tensor:
    """Count, for each label, the pixels where two maps agree and where either map has it.

    Args:
        label (Tensor): The true labels, (H, W), integers in [0, num_labels).
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


def count_overlap_in_bands(
    label: Tensor, pred: Tensor, bands: Sequence[Tensor], num_labels: int
) -> Tensor:
    """Count as :func:`count_overlap` does, (len(bands), 2, num_labels), inside each of some bands.

    The bands are masks (H, W) of dtype bool, each inside the next.
    """
    # Each pixel is counted once, in the ring between one band and the next; the rings inside a
    # band add up to the band. The last ring is what lies outside of all bands.
    num_rings = len(bands) + 1
    ring = torch.zeros_like(label, dtype=torch.int32)
    for band in bands:
        ring += ~band
    first_label = ring * num_labels
    counts = count_overlap(label + first_label, pred + first_label, num_rings * num_labels)
    return counts.view(2, num_rings, num_labels)[:, :-1].cumsum(dim=1).transpose(0, 1)


def _running_max(maps: Tensor, window: int, dim: int) -> Tensor:
    """Largest value of each run of ``window`` along one dimension, which shrinks accordingly."""
    # Two overlapping runs make a longer one: the length doubles until it reaches the window.
    length = 1
    while length < window:
        step = min(length, window - length)
        rest = maps.shape[dim] - step
        maps = torch.maximum(maps.narrow(dim, 0, rest), maps.narrow(dim, step, rest))
        length += step
    return maps
