"""The network that labels single points."""

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class PointMLP(BaseModule):
    """A small MLP, shared by all points, from features at a point to its logits (section 3.3).

    Parameters are named as in MMSegmentation's ``PointHead``, so that its weights fit.

    Args:
        in_channels (int): Channels D of the fine features, those of several levels added up.
        out_channels (int): Channels C of the logits: of the coarse ones that come in as of those
            that come out.
        channels (int): Width of the hidden layers. Defaults to 256.
        num_fcs (int): Number of hidden layers. Defaults to 3.
        coarse_pred_each_layer (bool): Whether every layer sees the coarse logits, not only the
            first. Defaults to True.
        norm_cfg (dict, optional): Normalization of the hidden layers. Defaults to None.
        act_cfg (dict): Activation of the hidden layers. Defaults to dict(type='ReLU').
        init_cfg (dict): Initialization. Defaults to a normal of std 0.01 for the last layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: int = 256,
        num_fcs: int = 3,
        coarse_pred_each_layer: bool = True,
        norm_cfg: dict | None = None,
        act_cfg: dict = dict(type="ReLU"),
        init_cfg: dict | None = dict(type="Normal", std=0.01, override=dict(name="fc_seg")),
    ) -> None:
        super().__init__(init_cfg)
        self.coarse_pred_each_layer = coarse_pred_each_layer
        extra = out_channels if coarse_pred_each_layer else 0
        widths = [in_channels + out_channels] + [channels + extra] * num_fcs
        self.fcs = nn.ModuleList(
            ConvModule(
                width, channels, 1, conv_cfg=dict(type="Conv1d"), norm_cfg=norm_cfg, act_cfg=act_cfg
            )
            for width in widths[:-1]
        )
        self.fc_seg = nn.Conv1d(widths[-1], out_channels, kernel_size=1)

    def forward(self, fine_points: Tensor, coarse_points: Tensor) -> Tensor:
        """Label points.

        Args:
            fine_points (Tensor): Fine features at the points, (B, D, N).
            coarse_points (Tensor): Coarse logits at the points, (B, C, N).

        Returns:
            Tensor: Logits, (B, C, N).
        """
        coarse_points = coarse_points.to(fine_points.dtype)
        x = torch.cat((fine_points, coarse_points), dim=1)
        for fc in self.fcs:
            x = fc(x)
            if self.coarse_pred_each_layer:
                x = torch.cat((x, coarse_points), dim=1)
        return self.fc_seg(x)
