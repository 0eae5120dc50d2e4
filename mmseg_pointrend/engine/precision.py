"""Types and memory layouts that a model computes fastest in."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from mmcv.cnn import ConvModule
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmseg.models.backbones import HRNet, ResNet, ResNetV1c, ResNetV1d
from mmseg.models.backbones.resnet import BasicBlock, Bottleneck
from mmseg.registry import HOOKS, OPTIM_WRAPPERS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..checkpoints.fitting import bare_segmentor

RESIDUAL_BLOCKS = (BasicBlock, Bottleneck)


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Trains in bfloat16 where that is exact enough, also on a CPU; MMEngine's wrapper wants a GPU.

    Weights, gradients and the optimizer stay in float32. bfloat16 has the exponents of float32, so
    that no loss has to be scaled. It pays on CPUs that multiply it (avx512_bf16, AMX).
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lay out a model's weights, and so its features, pixel by pixel."""

    def before_run(self, runner: Runner) -> None:
        runner.model.to(memory_format=torch.channels_last)


@HOOKS.register_module()
class TypeAndLayoutHook(Hook):
    """Have a test predict in another type and layout, see :func:`set_type_and_layout`.

    Args:
        dtype (str): Name of the type. Defaults to 'float32'.
        channels_last (bool): The layout. Defaults to False.
    """

    def __init__(self, dtype: str = "float32", channels_last: bool = False) -> None:
        self.dtype = getattr(torch, dtype)
        self.channels_last = channels_last

    def before_test(self, runner: Runner) -> None:
        # once the weights are there: what is folded into others no longer has a name
        set_type_and_layout(runner.model, self.dtype, self.channels_last)


def set_type_and_layout(
    model: nn.Module, dtype: torch.dtype = torch.float32, channels_last: bool = False
) -> nn.Module:
    """Have a segmentor predict in another floating-point type and memory layout.

    Batch norms that follow a convolution are folded into it, before any rounding.

    Args:
        model (nn.Module): A segmentor, or a wrapper around it; changed in place.
        dtype (torch.dtype): Type of weights and features. The statistics of batch norms that are
            left, which half precision would spoil, stay in float32. Defaults to float32.
        channels_last (bool): Whether weights and features are laid out pixel by pixel, as CPUs and
            GPUs convolve them fastest. Defaults to False.

    Returns:
        nn.Module: ``model``, in eval mode, which goes on taking float32 images.
    """
    segmentor = bare_segmentor(model)
    fold_batch_norms(model.eval())
    images = {*segmentor.data_preprocessor.modules()}  # their mean is subtracted in float32
    for module in model.modules():
        if not isinstance(module, _BatchNorm) and module not in images:
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
    """Fold batch norms into the convolutions before them, which saves a pass over each feature map.

    Only where a convolution is known to feed the norm that is registered after it: in sequences, in
    mmcv's ``ConvModule``, in MMSegmentation's ResNets and HRNets. Elsewhere, as in CGNet, the order
    of the modules says nothing about that of the computation.

    Args:
        model (nn.Module): A model to predict with, in eval mode; changed in place.

    Returns:
        nn.Module: ``model``.
    """
    for module in filter(_computes_in_order, [*model.modules()]):
        children = [*module.named_children()]
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            if _is_convolution(conv) and isinstance(norm, _BatchNorm):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return model


def _is_convolution(module: nn.Module) -> bool:
    # Transposed ones have their output channels in another dimension.
    return isinstance(module, _ConvNd) and not isinstance(module, _ConvTransposeNd)


def _computes_in_order(module: nn.Module) -> bool:
    if isinstance(module, ConvModule):
        return module.order[:2] == ("conv", "norm")
    return type(module) in (nn.Sequential, ResNet, ResNetV1c, ResNetV1d, HRNet, *RESIDUAL_BLOCKS)
