"""Trained models as files that run without this package."""

from .exporting import Exported, export_model
from .formats import FORMATS
from .verification import verify

__all__ = ["FORMATS", "Exported", "export_model", "verify"]
