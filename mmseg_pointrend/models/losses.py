"""Losses at points, and settings of losses that cannot train a head."""

from collections.abc import Sequence

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss, FocalLoss, LovaszLoss
from mmseg.models.losses.lovasz_loss import lovasz_hinge
from torch import Tensor, nn

from ..config import takes
from ..errors import InputError

# Losses of MMSegmentation that cannot train a single channel: Dice and Tversky compare it with the
# background, the others apply a softmax, which is 1 everywhere.
MANY_CHANNEL_LOSSES = ("DiceLoss", "HuasdorffDisstanceLoss", "OhemCrossEntropy", "TverskyLoss")
# Losses that see nothing of an image but single pixels. FocalLoss runs on GPUs only.
POINT_LOSSES = ("CrossEntropyLoss", "DiceLoss", "LovaszLoss", "TverskyLoss")


def loss_modules(head: BaseDecodeHead) -> Sequence[nn.Module]:
    """The losses of a head, whether its config has one or several; K-Net's has none of its own."""
    losses = getattr(head, "loss_decode", [])
    return losses if isinstance(losses, nn.ModuleList | list) else [losses]


def point_losses(head: BaseDecodeHead, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Losses of a head at points, and ``acc_point``, the percentage of them that are right.

    All are zero where no point is labeled. Logits are (B, C, N), labels (B, N), int64.
    """
    labeled = labels != head.ignore_index
    if head.out_channels == 1:
        predicted = (logits.squeeze(1).sigmoid() > head.threshold).long()
    else:
        predicted = logits.argmax(dim=1)
    accuracy = 100 * ((predicted == labels) & labeled).sum() / labeled.sum().clamp(min=1)
    weight = 1
    if not labeled.any():  # some of MMSegmentation's losses fail or are NaN there
        labels, weight = torch.full_like(labels, int(head.ignore_index == 0)), 0
    losses: dict[str, Tensor] = {}
    for module in loss_modules(head):
        # To MMSegmentation's losses the points are an image one pixel wide.
        loss = module(logits.unsqueeze(-1), labels.unsqueeze(-1), ignore_index=head.ignore_index)
        losses[module.loss_name] = losses.get(module.loss_name, 0) + weight * loss
    return {**losses, "acc_point": accuracy}


def can_train_points(kind: str, out_channels: int) -> bool:
    """Whether a loss, by its registered name, can train a point head on this machine."""
    losses = (*POINT_LOSSES, "FocalLoss") if torch.cuda.is_available() else POINT_LOSSES
    return kind in losses and not (out_channels == 1 and kind in MANY_CHANNEL_LOSSES)


def check_losses(model: nn.Module) -> None:
    """Raise InputError if a loss cannot train its head in a model, frozen heads left out: it is
    wrong for one channel or for points, has class weights for another number of classes, ignores
    another label than its head, or does not run on the device."""
    for name, head in model.named_modules():
        if isinstance(head, BaseDecodeHead) and any(p.requires_grad for p in head.parameters()):
            for loss in loss_modules(head):
                problem = _problem(loss, head)
                if problem is not None:
                    raise InputError(f"{name or 'decode_head'}.loss_decode: {problem}.")


def _problem(loss: nn.Module, head: BaseDecodeHead) -> str | None:
    """What keeps a loss from training a head, and what to do; None if nothing does."""
    kind, classes = type(loss).__name__, head.out_channels
    if hasattr(head, "point_head") and not takes(loss.forward, "ignore_index"):
        return f"{kind} takes no ignore_index and cannot be used at points; use CrossEntropyLoss"
    if classes == 1 and kind in MANY_CHANNEL_LOSSES:
        return (
            f"MMSegmentation's {kind} cannot train a single channel; set out_channels=2, or use "
            "CrossEntropyLoss with use_sigmoid=True"
        )
    is_softmax_lovasz = isinstance(loss, LovaszLoss) and loss.cls_criterion is not lovasz_hinge
    if classes == 1 and (is_softmax_lovasz or getattr(loss, "use_sigmoid", True) is False):
        setting = "loss_type='binary'" if is_softmax_lovasz else "use_sigmoid=True"
        return f"{kind} applies a softmax, constant on a single channel; set {setting} in it"
    ignored = getattr(loss, "ignore_index", getattr(loss, "ignore_label", head.ignore_index))
    if ignored != head.ignore_index:
        return (
            f"{kind} has ignore_index={ignored}, its head has ignore_index={head.ignore_index}; "
            "set both to the same label"
        )
    weights = getattr(loss, "class_weight", None)
    # Of a sigmoid it is the pos_weight: a list would broadcast along the image's width.
    is_binary = isinstance(loss, CrossEntropyLoss) and loss.use_sigmoid
    if weights is not None and is_binary and len(weights) != 1:
        return (
            "class_weight must be one number, the weight of the foreground, with use_sigmoid=True, "
            f"got {len(weights)}; set class_weight=[{float(weights[-1])}]"
        )
    if weights is not None and not is_binary and len(weights) != classes:
        return f"class_weight must have {classes} numbers, one a class, got {len(weights)}"
    if isinstance(loss, FocalLoss) and next(head.parameters()).device.type == "cpu":
        return "MMSegmentation's FocalLoss runs on GPUs only; train on one or use CrossEntropyLoss"
    return None
