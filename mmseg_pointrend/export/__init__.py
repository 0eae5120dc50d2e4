"""A trained model as one ONNX graph, which runs without this package."""

from .onnx_file import Exported, export_model, verify

__all__ = ["Exported", "export_model", "verify"]
