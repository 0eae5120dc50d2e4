"""What lies inside of the wrappers that runs put around a segmentor."""

from torch import nn


def bare_segmentor(model: nn.Module) -> nn.Module:
    """The segmentor inside of wrappers for distributed training or test-time augmentation."""
    while not hasattr(model, "decode_head") and hasattr(model, "module"):
        model = model.module
    return model


def last_decode_head(model: nn.Module) -> nn.Module:
    """The decode head that predicts: a cascade has several, one for each stage."""
    head = bare_segmentor(model).decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head
