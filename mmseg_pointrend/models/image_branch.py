"""Fine features that a decode head does not see: a level that the neck leaves out, and the image.

A neck of type ``WithFinestLevel`` hands on the backbone's finest level before its own. A backbone
of type ``WithImage`` hands the image on with its levels; the :class:`ImageBranch` of a
:class:`PointRendHead` turns it into levels of stride 2 and 4.
"""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..errors import InputError
from ..point_features import as_levels


@MODELS.register_module(name="WithFinestLevel")
def build_with_finest_level(of: str, **kwargs) -> nn.Module:
    """Build a neck of type ``of`` that gives the finest level of its backbone before its own.

    Its weights keep their names, so that checkpoints fit. Heads count one level more: ``in_index``
    of the coarse head starts at 1.
    """
    neck = MODELS.build(dict(type=of, **kwargs))
    neck.register_forward_hook(lambda neck, args, output: (args[0][0], *output))
    return neck


@MODELS.register_module(name="WithImage")
def build_with_image(of: str, **kwargs) -> nn.Module:
    """Build a backbone or neck of type ``of`` that hands on the image together with its levels.

    Its weights keep their names, so that checkpoints fit. A neck needs it too, where there is one.
    In a config that inherits them, ``backbone=dict(type="WithImage", of="BiSeNetV1")`` is enough.
    """
    module = MODELS.build(dict(type=of, **kwargs))
    module.register_forward_hook(_hand_on_image)
    return module


def _hand_on_image(module: nn.Module, args: tuple, output: Tensor | Sequence) -> None:
    # An attribute: heads and necks take the levels in whatever tuples the backbone gives.
    inputs = as_levels(args[0])[0]
    as_levels(output)[0].image = getattr(inputs, "image", inputs)


def image_of(features: Tensor | Sequence) -> Tensor:
    """The image, (B, C, H, W), that a backbone of type ``WithImage`` has handed on; an InputError
    if there is none."""
    image = getattr(as_levels(features)[0], "image", None)
    if image is None:
        raise InputError(
            "decode_head.image_branch reads the image, which the backbone does not hand on; set "
            "type='WithImage' and of=TYPE in model.backbone, and in model.neck if there is one."
        )
    return image


@MODELS.register_module()
class ImageBranch(BaseModule):
    """Levels of stride 2, 4, ... by two 3x3 convolutions each, with ``channels``, by default 32 and
    64, of an image with ``in_channels``, by default 3."""

    def __init__(self, in_channels: int = 3, channels: Sequence[int] = (32, 64)) -> None:
        super().__init__()
        self.channels = list(channels)
        self.stages = nn.ModuleList()
        for width in channels:
            first = ConvModule(in_channels, width, 3, 2, padding=1, norm_cfg=dict(type="BN"))
            second = ConvModule(width, width, 3, padding=1, norm_cfg=dict(type="BN"))
            self.stages.append(nn.Sequential(first, second))
            in_channels = width

    def forward(self, image: Tensor) -> list[Tensor]:
        """Levels, finest first, of an image, (B, C, H, W)."""
        x = image
        return [x := stage(x) for stage in self.stages]
