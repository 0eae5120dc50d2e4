"""The network that labels single points, and how it starts."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.registry import WEIGHT_INITIALIZERS
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .config import type_name
from .errors import InputError

# Settings that MMSegmentation's PointHead reads from train_cfg and test_cfg: where ours are.
POINT_HEAD_SETTINGS = {
    **dict.fromkeys(("num_points", "oversample_ratio", "importance_sample_ratio"), "point_sampler"),
    **dict.fromkeys(("subdivision_steps", "subdivision_num_points", "scale_factor"), "renderer"),
}


class PointConv(nn.Conv1d):
    """A convolution of kernel size 1 over points, (B, D, N) to (B, D', N), as matrix products.

    The D channels may come in parts, which is faster than concatenating them. Fastest where each
    point's channels lie side by side in memory.
    """

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        parts = [x] if isinstance(x, Tensor) else x
        rows = [part.transpose(1, 2).flatten(0, 1) for part in parts]
        weights = self.weight.squeeze(2).split([part.shape[1] for part in parts], dim=1)
        # The coarse logits, few, come last: starting with them takes a twentieth less of rendering.
        out = F.linear(rows[-1], weights[-1], self.bias)
        for part, weight in zip(rows[:-1], weights[:-1], strict=True):
            # In place, which autocast passes over, as do counters of FLOPs.
            out.addmm_(part.to(out.dtype), weight.t().to(out.dtype))
        return out.unflatten(0, parts[0].shape[::2]).transpose(1, 2)


@MODELS.register_module()
class PointMLP(BaseModule):
    """A small MLP, shared by all points, from features at a point to its logits (section 3.3).

    Parameters are named as in MMSegmentation's ``PointHead``, so that its weights fit.

    Args:
        in_channels (int): Channels D of the fine features, those of several levels added up.
        out_channels (int): Channels C of the logits, coarse and resulting ones.
        channels (int): Width of the hidden layers. Defaults to 256.
        num_fcs (int): Number of hidden layers. Defaults to 3.
        coarse_pred_each_layer (bool): Whether every layer sees the coarse logits, not only the
            first. Defaults to True.
        standardize (bool): Whether each fine feature is brought to mean 0 and variance 1 first, by
            batch norm without weights. Features of a frozen model can be of any scale. Defaults to
            False.
        norm_cfg (dict, optional): Normalization of the hidden layers, such as dict(type='BN1d') or
            dict(type='SyncBN'). Defaults to None.
        act_cfg (dict): Activation of the hidden layers. Defaults to dict(type='ReLU').
        init_cfg (dict): Initialization. Defaults to a normal of std 0.01 for the last layer.

    Raises:
        InputError: If ``norm_cfg`` normalizes maps.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: int = 256,
        num_fcs: int = 3,
        coarse_pred_each_layer: bool = True,
        standardize: bool = False,
        norm_cfg: dict | None = None,
        act_cfg: dict = dict(type="ReLU"),
        init_cfg: dict | None = dict(type="Normal", std=0.01, override=dict(name="fc_seg")),
    ) -> None:
        super().__init__(init_cfg)
        if norm_cfg is not None and type_name(norm_cfg) in ("BN", "BN2d"):
            raise InputError(
                "point_head.norm_cfg has BN, which normalizes maps; points take dict(type='BN1d')."
            )
        self.coarse_pred_each_layer = coarse_pred_each_layer
        self.standardize = nn.BatchNorm2d(in_channels, affine=False) if standardize else None
        extra = out_channels if coarse_pred_each_layer else 0
        widths = [in_channels + out_channels] + [channels + extra] * num_fcs
        # What a PointConv gives is a view, and an activation in place on a view trains slowly.
        layer = dict(
            conv_cfg=dict(type=PointConv), norm_cfg=norm_cfg, act_cfg=act_cfg, inplace=False
        )
        self.fcs = nn.ModuleList(ConvModule(width, channels, 1, **layer) for width in widths[:-1])
        self.fc_seg = PointConv(widths[-1], out_channels, kernel_size=1)

    def forward(self, fine_points: Tensor, coarse_points: Tensor) -> Tensor:
        """Logits, (B, C, N), of points from their fine features, (B, D, N), and coarse logits,
        (B, C, N)."""
        if self.standardize is not None:
            # As an image in channels_last: in other layouts batch norm goes number by number.
            fine_points = self.standardize(fine_points.unsqueeze(2)).squeeze(2)
        coarse_points = coarse_points.to(fine_points.dtype)
        x = (fine_points, coarse_points)
        for fc in self.fcs:
            hidden = fc(x)
            x = (hidden, coarse_points) if self.coarse_pred_each_layer else hidden
        return self.fc_seg(x)


def refuse_point_head_settings(settings: dict | None) -> None:
    """Raise an InputError, which names the key to set instead, at what MMSegmentation's PointHead
    reads from train_cfg and test_cfg of the segmentor."""
    for key in POINT_HEAD_SETTINGS.keys() & (settings or {}).keys():
        raise InputError(
            f"{key} in model.train_cfg or test_cfg is for MMSegmentation's PointHead; remove it, "
            f"and set model.decode_head.{POINT_HEAD_SETTINGS[key]}.{key}={settings[key]!r}."
        )


# At the root: MMEngine looks there whatever the default scope is.
@WEIGHT_INITIALIZERS.register_module(name="CoarseIdentity")
class CoarseIdentityInit:
    """Have a :class:`PointMLP` return the coarse logits that it gets, until it has learned better.

    The last layer starts with the identity for the coarse logits, which it sees beside the hidden
    features, and with zeros for these. This helps where the coarse head is trained already and the
    point head has few steps to catch up (docs/retrofit.md).

    For a config: ``point_head=dict(init_cfg=dict(type="CoarseIdentity"))``.
    """

    def __call__(self, module: nn.Module) -> None:
        """Initialize the last layer of a :class:`PointMLP`; an InputError if ``module`` is none, or
        that layer does not see the coarse logits."""
        if not isinstance(module, PointMLP):
            raise InputError(
                f"CoarseIdentity is for point_head.init_cfg, not for a {type(module).__name__}."
            )
        if len(module.fcs) > 0 and not module.coarse_pred_each_layer:
            raise InputError(
                "CoarseIdentity starts from the coarse logits, which the point head's last layer "
                "does not see: set point_head.coarse_pred_each_layer=True."
            )
        num_logits = module.fc_seg.out_channels
        with torch.no_grad():
            module.fc_seg.weight.zero_()
            module.fc_seg.bias.zero_()
            module.fc_seg.weight[:, -num_logits:, 0].fill_diagonal_(1)
