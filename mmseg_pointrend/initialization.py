"""How a point head starts."""

import torch
from mmengine.model import BaseInit, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from .errors import InputError
from .point_head import PointMLP


# At the root: MMEngine looks there whatever the default scope is.
@WEIGHT_INITIALIZERS.register_module(name="CoarseIdentity")
class CoarseIdentityInit(BaseInit):
    """Have a :class:`PointMLP` return the coarse logits that it gets, until it has learned better.

    The last layer sees the coarse logits beside the hidden features; it starts with the identity
    for the former and zeros for the latter. So training starts from the labels of the coarse head
    instead of from noise, which matters where the coarse head is trained already and the point head
    has few steps to catch up: docs/retrofit.md has what it brings.

    For a config: ``point_head=dict(init_cfg=dict(type="CoarseIdentity"))``.
    """

    def __call__(self, module: nn.Module) -> None:
        """Initialize the last layer of a point head.

        Args:
            module (nn.Module): A :class:`PointMLP`.

        Raises:
            InputError: If it is no PointMLP, or its last layer does not see the coarse logits.
        """
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
        if hasattr(module, "_params_init_info"):  # what the runner logs of each parameter
            update_init_info(module, init_info=self._get_init_info())

    def _get_init_info(self) -> str:
        return type(self).__name__
