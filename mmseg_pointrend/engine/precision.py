"""Mixed precision on CPUs, and prediction in faster types and memory formats."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from mmcv.cnn import ConvModule
from mmengine.optim import OptimWrapper
from mmseg.models.backbones import HRNet, ResNet, ResNetV1c, ResNetV1d
from mmseg.models.backbones.resnet import BasicBlock, Bottleneck
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..checkpoints.fitting import bare_segmentor


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16, also on a CPU, where MMEngine's AmpOptimWrapper is refused.

    Weights, gradients and the optimizer stay in float32. bfloat16 has the exponents of float32, so
    the loss needs no scaling. It is faster on CPUs with avx512_bf16 or AMX.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def set_type_and_layout(
    model: nn.Module, dtype: torch.dtype = torch.float32, channels_last: bool = False
) -> nn.Module:
    """Prepare a segmentor to predict in another floating-point type and memory format.

    Batch norms that follow a convolution are folded into it before weights are rounded; the others
    stay in float32. The model, or a wrapper around it, is changed in place and returned, in eval
    mode; it takes float32 images as before.
    """
    segmentor = bare_segmentor(model)
    fold_batch_norms(model.eval())
    preprocessing = {*segmentor.data_preprocessor.modules()}  # subtracts the mean in float32
    for module in model.modules():
        if not isinstance(module, _BatchNorm) and module not in preprocessing:
            tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
            for tensor in filter(torch.is_floating_point, tensors):
                tensor.data = tensor.data.to(dtype)
    layout = torch.channels_last if channels_last else torch.preserve_format
    model.to(memory_format=layout)
    segmentor.backbone.register_forward_pre_hook(
        lambda _, images: tuple(image.to(dtype, memory_format=layout) for image in images)
    )
    return model


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """Fold batch norms into the convolutions before them, in place, and return the model.

    Only in modules that are known to compute in the order of their children: ``nn.Sequential``,
    mmcv's ``ConvModule``, MMSegmentation's ResNets and HRNets.
    """
    ordered = (nn.Sequential, ResNet, ResNetV1c, ResNetV1d, HRNet, BasicBlock, Bottleneck)
    for module in [*model.modules()]:
        is_conv_norm = isinstance(module, ConvModule) and module.order[:2] == ("conv", "norm")
        if type(module) not in ordered and not is_conv_norm:
            continue
        for (conv_name, conv), (norm_name, norm) in pairwise([*module.named_children()]):
            # Transposed convolutions have their output channels in another dimension.
            is_convolution = isinstance(conv, _ConvNd) and not isinstance(conv, _ConvTransposeNd)
            if is_convolution and isinstance(norm, _BatchNorm):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return model
