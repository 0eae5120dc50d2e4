"""A trained model as one ONNX graph, which runs without this package."""

from .onnx_file import Exported, export_model
from .trace import exit_after
from .verification import verify

__all__ = ["Exported", "exit_after", "export_model", "verify"]
