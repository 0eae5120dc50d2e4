"""A trained model as one ONNX graph, which runs without this package."""
