"""A model that takes seconds to export, and what goes with it."""

import logging
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch.nn import functional as F

# pytest would take down the megabytes that PyTorch tells this logger while it traces.
logging.getLogger("torch.__trace").propagate = False

CLASSES = ("background", "disk", "triangle", "star")
PALETTE = [[0, 0, 0], [220, 20, 60], [0, 130, 180], [250, 170, 30]]
# One stage of a ResNet, of stride 4, under PointRend.
MODEL = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type="ResNet",
        depth=18,
        num_stages=1,
        base_channels=4,
        stem_channels=8,
        strides=(1,),
        dilations=(1,),
        out_indices=(0,),
    ),
    decode_head=dict(
        type="PointRendHead",
        coarse_head=dict(
            type="FCNHead", in_channels=4, in_index=0, channels=4, num_convs=0, concat_input=False
        ),
        in_channels=4,
        channels=8,
        num_classes=len(CLASSES),
    ),
    test_cfg=dict(mode="whole"),
)


def small_config(**overrides: object) -> Config:
    """Config of the model; keyword arguments are keys with ``__`` for dots."""
    pipeline = [dict(type="LoadImageFromFile"), dict(type="PackSegInputs")]
    dataset = dict(
        type="BaseSegDataset",
        metainfo=dict(classes=CLASSES, palette=PALETTE),
        pipeline=pipeline,
    )
    cfg = Config(dict(model=MODEL, test_dataloader=dict(dataset=dataset)))
    cfg.merge_from_dict({key.replace("__", "."): value for key, value in overrides.items()})
    return cfg


def save_weights(cfg: Config, path: Path) -> Path:
    """Write weights with which neighboring pixels get different labels and points matter."""
    init_default_scope("mmseg")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    head = model.decode_head
    images = F.interpolate(torch.randn(4, 3, 16, 16), scale_factor=8, mode="bicubic")
    with torch.no_grad():
        for _ in range(30):  # statistics of batch norms
            features = model.train().extract_feat(images)
        features = model.eval().extract_feat(images)
        for layer in (head.coarse_head.conv_seg, head.point_head.fc_seg):
            layer.weight.normal_()
        head.coarse_head.conv_seg.bias -= head.coarse_logits(features).mean(dim=(0, 2, 3))
        coarse, coords = head.coarse_logits(features), torch.rand(4, 500, 2)
        seen = head.point_features(head.fine_features(features), coarse, coords)
        head.point_head.fc_seg.bias -= head.point_head(*seen).mean(dim=(0, 2))
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def picture(height: int, width: int) -> np.ndarray:
    """A smooth BGR image."""
    rng = np.random.default_rng(height * width)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def pixels(image: np.ndarray) -> torch.Tensor:
    """What a graph takes for a BGR image."""
    return torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)[None]))
