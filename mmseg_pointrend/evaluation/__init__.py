"""Metrics that look at object boundaries."""

from .boundary_iou_metric import BoundaryIoUMetric

__all__ = ["BoundaryIoUMetric"]
