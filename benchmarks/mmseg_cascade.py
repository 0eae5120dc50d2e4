"""MMSegmentation's own PointRend, as the other side of a comparison."""

import importlib
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module(name="MMSegPointHead")
def point_head(**settings: Any) -> nn.Module:
    """Build MMSegmentation's ``PointHead``, also where mmcv has no compiled operators."""
    provide_point_sample()
    return MODELS.build(dict(type="PointHead", **settings))


def provide_point_sample() -> None:
    """Let ``PointHead`` do without mmcv's compiled operators.

    It refuses to be built without them for the sake of one function, which calls
    :func:`torch.nn.functional.grid_sample` and nothing compiled.
    """
    module = importlib.import_module("mmseg.models.decode_heads.point_head")
    if module.point_sample is None:
        module.point_sample = _point_sample


def cascade(model: ConfigDict, num_points: int, subdivision_steps: int) -> ConfigDict:
    """Config of MMSegmentation's PointRend with the weights of one of ours.

    Args:
        model (ConfigDict): Config of an ``EncoderDecoder`` with a :class:`PointRendHead`.
        num_points (int): Points of a training step and of each step of the prediction.
        subdivision_steps (int): Steps of the prediction.

    Returns:
        ConfigDict: Config of a ``CascadeEncoderDecoder``.
    """
    head = model.decode_head
    shared = dict(num_classes=head.num_classes, align_corners=head.get("align_corners", False))
    in_index, in_channels = head.get("in_index", 0), head.in_channels
    return ConfigDict(
        type="CascadeEncoderDecoder",
        num_stages=2,
        data_preprocessor=model.data_preprocessor,
        backbone=model.backbone,
        neck=model.get("neck"),
        decode_head=[
            {**shared, **head.coarse_head},
            dict(
                type="MMSegPointHead",
                in_channels=[in_channels] if isinstance(in_channels, int) else in_channels,
                in_index=[in_index] if isinstance(in_index, int) else in_index,
                channels=head.channels,
                dropout_ratio=-1,
                loss_decode=head.get("loss_decode", dict(type="CrossEntropyLoss")),
                **shared,
            ),
        ],
        train_cfg=dict(num_points=num_points, oversample_ratio=3, importance_sample_ratio=0.75),
        test_cfg=dict(
            mode="whole",
            subdivision_steps=subdivision_steps,
            subdivision_num_points=num_points,
            scale_factor=2,
        ),
    )


def coarse_only(model: ConfigDict) -> ConfigDict:
    """Config of the coarse model inside of a model with a :class:`PointRendHead`."""
    head = model.decode_head
    shared = dict(num_classes=head.num_classes, align_corners=head.get("align_corners", False))
    return ConfigDict({**model, "decode_head": {**shared, **head.coarse_head}})


def cascade_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of one of our models as those of its :func:`cascade`."""
    names = {
        "decode_head.coarse_head.": "decode_head.0.",
        "decode_head.point_head.": "decode_head.1.",
    }
    renamed = {}
    for name, weight in weights.items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        renamed[name] = weight
    return renamed


def postprocess(logits: Tensor) -> Tensor:
    """Labels of logits, (B, C, H, W) -> (B, H, W), as MMSegmentation's segmentors make them.

    They resize the logits to the size of the original image, which takes as long where that is the
    size they have, and keep them beside the labels.
    """
    size = tuple(logits.shape[-2:])
    samples = [SegDataSample(metainfo=dict(ori_shape=size)) for _ in logits]
    segmentor = SimpleNamespace(align_corners=False)  # all that it wants to know of itself
    samples = BaseSegmentor.postprocess_result(segmentor, logits, samples)
    return torch.cat([sample.pred_sem_seg.data for sample in samples])


def _point_sample(
    maps: Tensor, points: Tensor, align_corners: bool = False, mode: str = "bilinear"
) -> Tensor:
    grid = (2 * points - 1).unsqueeze(2)
    return F.grid_sample(maps, grid, mode=mode, align_corners=align_corners).squeeze(3)
