"""From image files to label files.

No module but ``torch_model`` imports PyTorch: exported models run where it is not installed.
"""
