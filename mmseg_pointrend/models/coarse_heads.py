"""Coarse heads: any decode head of MMSegmentation that predicts a label a pixel, or a cascade.

The output of a head is a logit map, a tuple that starts with one (EncHead, DAHead), a list of the
maps of several stages, the last of which predicts (K-Net, cascades), or queries, each with class
scores and a mask (MaskFormer, Mask2Former). ``loss_by_feat`` of the head takes it as it is.
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from mmengine.model import ModuleList
from mmengine.structures import PixelData
from mmseg.models.decode_heads import PIDHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError

# What a coarse head has in common with the PointRendHead that it belongs to.
SHARED_KEYS = ("num_classes", "out_channels", "ignore_index", "align_corners")


class CascadeHead(ModuleList):
    """A decode head and cascade decode heads, such as OCRHead, which take the output before."""

    def forward(self, inputs: Sequence[Tensor]) -> list:
        """Outputs of all heads."""
        outputs: list = []
        for head in self:
            outputs.append(head(inputs, *outputs[-1:]))
        return outputs

    def loss_by_feat(self, outputs: list, batch_data_samples: list[SegDataSample]) -> dict:
        """Losses and accuracy of each head, as ``0.*``, ``1.*``, ..."""
        losses = {}
        for index, (head, output) in enumerate(zip(self, outputs, strict=True)):
            losses |= add_prefix(head.loss_by_feat(output, batch_data_samples), str(index))
        return losses


def build_coarse_head(config: dict | Sequence[dict], owner: BaseDecodeHead) -> nn.Module:
    """Build a coarse head from its config, or a cascade from several.

    Each head takes SHARED_KEYS, and with one channel ``threshold``, from the PointRendHead that it
    belongs to; an InputError names both values if its config has another one.
    """
    if isinstance(config, Sequence):
        return CascadeHead([build_coarse_head(part, owner) for part in config])
    keys = (*SHARED_KEYS, "threshold") if owner.out_channels == 1 else SHARED_KEYS
    return MODELS.build(_complete(config, {key: getattr(owner, key) for key in keys}))


def _complete(config: dict, shared: Mapping[str, Any]) -> dict:
    if "kernel_generate_head" in config:  # K-Net has them from the head that makes its kernels
        kernels = _complete(config["kernel_generate_head"], shared)
        return {**config, "kernel_generate_head": kernels}
    if "num_queries" in config:  # its out_channels are those of its features
        shared = {key: value for key, value in shared.items() if key != "out_channels"}
    for key, value in shared.items():
        refuse_disagreement("coarse_head", config, key, value)
    return {**shared, **config}


def refuse_disagreement(name: str, part: Mapping[str, Any], key: str, value: Any) -> None:
    """Refuse the config of a part that has another value for a key than PointRendHead."""
    if part.get(key, value) != value:
        raise InputError(
            f"{name}.{key} must be that of PointRendHead, {value!r}, got {part[key]!r}; leave it "
            f"out of {name}, or set {key}={part[key]!r} in PointRendHead."
        )


def classifies_masks(head: nn.Module) -> bool:
    """Whether a head gives queries, with class scores and masks, as MaskFormer and Mask2Former."""
    return "batch_data_samples" in signature(head.forward).parameters


def coarse_output(head: nn.Module, inputs: Tensor | Sequence) -> Tensor | Sequence:
    """Run a coarse head on what the backbone (or neck) gives; returns what the head gives.

    A head that classifies masks gives logits, (B, C, h, w), here: the logarithm of its class
    scores, each the sum over queries of softmax times sigmoid, at the stride of its masks.
    MMSegmentation upsamples masks before the sigmoid, so that labels can differ from its own.
    """
    if not classifies_masks(head):
        return head(inputs)
    size = tuple(inputs[0].shape[-2:])  # one for all: no image of the batch has padding of its own
    meta = dict(img_shape=size, pad_shape=size, batch_input_shape=size, ori_shape=size)
    classes, masks = head(inputs, [SegDataSample(metainfo=meta) for _ in inputs[0]])
    scores = classes[-1].float().softmax(dim=-1)[..., :-1]
    maps = torch.einsum("bqc,bqhw->bchw", scores, masks[-1].float().sigmoid())
    return maps.clamp(min=torch.finfo(maps.dtype).tiny).log()


def logit_map(output: Tensor | Sequence) -> Tensor:
    """Find the logits, (B, C, h, w), that predict in the output of a coarse head."""
    if isinstance(output, Tensor):
        return output
    return logit_map(output[-1] if isinstance(output, list) else output[0])


def within(logits: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Reduce logits, (B, C, h, w), that are larger than an image of ``size`` = (H, W).

    Some heads, as SETRUPHead, upsample maps of whole patches to more than the image has.
    """
    height, width = map(min, logits.shape[-2:], size)
    if (height, width) == tuple(logits.shape[-2:]):
        return logits
    return F.interpolate(logits, (height, width), mode="bilinear", align_corners=align_corners)


def coarse_losses(
    head: nn.Module,
    output: Tensor | Sequence,
    batch_data_samples: list[SegDataSample],
    ignore_index: int,
) -> dict[str, Tensor]:
    """Losses and accuracy of a coarse head, from its output; zeros where all labels are ignored,
    none where the output has no gradient, as that of a frozen model."""
    if torch.is_grad_enabled() and not logit_map(output).requires_grad:
        return {}
    if any((sample.gt_sem_seg.data != ignore_index).any() for sample in batch_data_samples):
        return head.loss_by_feat(output, batch_data_samples)
    # Some of MMSegmentation's losses fail or are NaN without a label: take them at another one.
    labeled = [sample.new() for sample in batch_data_samples]
    for sample in labeled:
        labels = torch.full_like(sample.gt_sem_seg.data, int(ignore_index == 0))
        sample.gt_sem_seg = PixelData(data=labels)
    return {name: 0 * loss for name, loss in head.loss_by_feat(output, labeled).items()}


def check_trainable(head: nn.Module) -> None:
    """Raise InputError if a head in training mode trains on other maps than it predicts from."""
    if head.training and (isinstance(head, PIDHead) or classifies_masks(head)):
        raise InputError(
            f"coarse_head: a {type(head).__name__} trains on other maps than it predicts from, so "
            "that a point head cannot train along with it; train the model without PointRend "
            "first, then put PointRend on it (tools/retrofit.py)."
        )
