"""The trained model that PointRend is put on: building it and finding out what it offers."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..config import parts, read_config, type_name
from ..errors import InputError
from ..models.coarse_heads import CascadeHead, coarse_output, logit_map
from ..point_features import as_levels
from .alignment import stride_of

OTHER_SEGMENTORS = {
    "MultimodalEncoderDecoder": "it compares the image with text (SAN), and its head needs both",
    "DepthEstimator": "it predicts depth (VPD), not labels",
}


class Level(NamedTuple):
    """One output of a model's backbone, or of its neck if it has one."""

    index: int  # among them; -1 if it is the only one
    channels: int
    stride: int  # pixels of the image to one of its cells


class CoarseModel(NamedTuple):
    """A model that PointRend is put on, and what it offers to a point head."""

    path: Path  # of its config
    cfg: Config
    network: nn.Module
    levels: list[Level]
    stride: int  # of its logits
    crop_size: tuple[int, int]  # (H, W) of the training crops
    in_channels: int  # of the image


def read_coarse_model(path: Path) -> CoarseModel:
    """Read a config, build its model, in evaluation mode and without weights, and run it once.

    Raises InputError if it has no model that a point head can be put on, or that cannot be built or
    run here, for want of packages or operators.
    """
    cfg = read_model_config(path)
    with failing(f"{path}: the model cannot be built"):
        network = MODELS.build({**cfg.model, "train_cfg": None, "pretrained": None}).eval()
    convolutions = (m for m in network.backbone.modules() if isinstance(m, nn.Conv2d))
    size, channels = _crop_size(cfg), getattr(next(convolutions, None), "in_channels", 3)
    with failing(f"{path}: the model does not run on an image of {size[0]}x{size[1]} pixels"):
        features, logits = _run(network, (channels, *size))
    is_single = isinstance(features, Tensor)
    levels = [
        Level(-1 if is_single else index, level.shape[1], stride_of(size, level.shape[-2:]))
        for index, level in enumerate(as_levels(features))
    ]
    stride = stride_of(size, logits.shape[-2:])
    return CoarseModel(path, cfg, network, levels, stride, size, channels)


def read_model_config(path: Path) -> Config:
    """Read the config of a model, see :func:`read_coarse_model`."""
    cfg = read_config(path)
    init_default_scope(cfg.get("default_scope", "mmseg"))
    model = cfg.get("model")
    kind = "no model" if not model else type_name(model)
    if kind in OTHER_SEGMENTORS:
        raise InputError(f"{path}: PointRend cannot be put on a {kind}: {OTHER_SEGMENTORS[kind]}.")
    if kind not in ("EncoderDecoder", "CascadeEncoderDecoder"):
        raise InputError(
            f"{path}: model.type must be EncoderDecoder or CascadeEncoderDecoder, got {kind}."
        )
    if type_name(parts(model.decode_head)[-1]) in ("PointHead", "PointRendHead"):
        raise InputError(
            f"{path} is a PointRend model already: train or test it with configs/pointrend_*.py."
        )
    for package in set(re.findall(r"'type': '(mmdet|mmpretrain)\.", repr(model.to_dict()))):
        with failing(f"{path} needs {package}"):  # registries would say that a type is missing
            import_module(f"{package}.models")
    return cfg


@contextmanager
def failing(what: str) -> Iterator[None]:
    """Have whatever fails in the block say in one line what failed and why."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # anything can come out of a model
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{what}: {reason}") from error


@torch.no_grad()
def _run(model: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor | Sequence, Tensor]:
    features, head = model.extract_feat(torch.zeros(1, *shape)), model.decode_head
    if isinstance(head, nn.ModuleList):
        head = CascadeHead([*head])
    return features, logit_map(coarse_output(head, features))


def _crop_size(cfg: Config) -> tuple[int, int]:
    size = (
        (cfg.model.get("data_preprocessor") or {}).get("size")
        or cfg.get("crop_size")
        or cfg.model.backbone.get("img_size")
        or 256
    )
    return (size, size) if isinstance(size, int) else tuple(size)
