"""From image files to label files; without PyTorch but in torch_model and image_pipeline."""
