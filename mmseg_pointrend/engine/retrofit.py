"""Writing the config that turns a trained model into a PointRend model."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings
from mmseg.registry import MODELS
from torch import nn

from ..checkpoints.fitting import load_weights
from ..checkpoints.loading import checkpoints_as_data
from ..coarse_heads import SHARED_KEYS, logit_map
from ..command_line import read_config
from ..config_errors import config_errors
from ..decode_head import PointRendHead
from ..errors import InputError
from ..files import replacing
from ..losses import can_train_points
from ..own_import import with_own_import
from ..point_features import as_levels
from ..type_names import type_name

# An image whose size every usual stride divides, so that strides can be told from sizes.
PROBE = 256
# The stride of the fine features in the paper; finer ones are noisier, coarser ones less sharp.
FINE_STRIDE = 4
# Logits of the image's size are refined one step beyond it, at half-pixel spacing, and averaged.
FULL_SIZE_RENDERER = """\
        renderer=dict(
            type="DenseRenderer", subdivision_steps=1, subdivision_num_points=8192
        ),
"""

HEADER = "# PointRend on "
TEMPLATE = (
    HEADER
    + """\
{config}: only its point head trains.
_base_ = "{base}"
custom_imports = dict(imports={imports}, allow_failed_imports=False)
load_from = "{checkpoint}"
model = dict(
    type="RetrofitEncoderDecoder",
{auxiliary}    decode_head=dict(
        _delete_=True,
        type="PointRendHead",
        coarse_head=_base_.model.decode_head,
        in_channels={level.channels},
        in_index={level.index},
        channels=256,
        point_head=dict(init_cfg=dict(type="CoarseIdentity")),
{renderer}{shared}        loss_decode={losses},
    ),
)
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end={warmup}, by_epoch=False),
    dict(type="PolyLR", eta_min=1e-6, power=0.9, begin={warmup}, end={iters}, by_epoch=False),
]
train_cfg = dict(
    _delete_=True, type="IterBasedTrainLoop", max_iters={iters}, val_interval={interval}
)
default_hooks = dict(
    logger=dict(type="LoggerHook", log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval={interval}),
)
log_processor = dict(by_epoch=False)
"""
)
# A step takes little more than the forward pass of a validation: shorter runs have one, at the end.
SHORTEST_INTERVAL = 500


class Level(NamedTuple):
    """One feature map of a model.

    Attributes:
        index (int): Its place among the outputs of the backbone, or the neck if there is one.
        channels (int): Its channels.
        stride (int): Pixels of the image to one of its cells.
    """

    index: int
    channels: int
    stride: int


def write_recipe(
    config: str | Path,
    checkpoint: str | Path,
    target: str | Path,
    iters: int = 20000,
    trust: bool = False,
) -> tuple[list[Level], Level]:
    """Write the config of a PointRend model on top of a trained model.

    Args:
        config (str | Path): Config that the model was trained with.
        checkpoint (str | Path): Its checkpoint, a file or an address.
        target (str | Path): Config file to write.
        iters (int): Iterations to train the point head for. Defaults to 20000.
        trust (bool): Whether to run code that the checkpoint carries. Defaults to False.

    Returns:
        tuple[list[Level], Level]: The feature maps that the model has, and the one that was chosen
        for the fine features.

    Raises:
        InputError: If the config or the checkpoint cannot be read, do not fit each other or are no
            model to put PointRend on, or ``target`` is no name for a new config.
    """
    if iters < 2:
        raise InputError(f"iters={iters}: a schedule has at least two iterations.")
    config, target = Path(config), Path(target)
    source = str(checkpoint)
    if "://" not in source:
        source = Path(source).expanduser().resolve().as_posix()
    _check_target(target, (config, Path(source)))
    cfg = read_config(config)
    with checkpoints_as_data(trust), config_errors():
        model = _build(cfg, config)
    load_weights(model, source, trust=trust)
    if isinstance(model.decode_head, PointRendHead):
        raise InputError(f"{config} is a PointRend model already; train it with load_from.")
    levels, coarse_stride = _probe(model, cfg.model.backbone.get("img_size", PROBE), config)
    level = fine_level(levels, coarse_stride)
    head = cfg.model.decode_head
    text = TEMPLATE.format(
        config=config.name,
        base=Path(os.path.relpath(config, target.parent)).as_posix(),
        imports=json.dumps(with_own_import(cfg)),
        checkpoint=source,
        level=level,
        auxiliary="    auxiliary_head=None,\n" if cfg.model.get("auxiliary_head") else "",
        renderer=FULL_SIZE_RENDERER if coarse_stride == 1 else "",
        shared="".join(
            f"        {key}=_base_.model.decode_head.{key},\n"
            for key in (*SHARED_KEYS, "threshold")
            if key in head
        ),
        losses=_losses(head, model.decode_head.out_channels),
        iters=iters,
        warmup=max(1, min(200, iters // 10)),
        interval=max(iters // 10, min(iters, SHORTEST_INTERVAL)),
    )
    with replacing(target) as partial:
        partial.write_text(text)
    return levels, level


def _check_target(target: Path, sources: Sequence[Path]) -> None:
    if target.suffix != ".py":
        raise InputError(f"{target}: a config is a Python file; give it the suffix .py.")
    if target.resolve() in [source.resolve() for source in sources]:
        raise InputError(f"{target} is an input and would be overwritten; choose another --out.")
    if target.is_file() and not target.read_bytes().startswith(HEADER.encode()):
        raise InputError(
            f"{target} is there already, and no config that this tool has written; choose another "
            "--out."
        )


def _losses(head: dict, out_channels: int) -> str:
    """The losses of a coarse head, as far as they can be taken at points, as a config has them."""
    cross_entropy = (
        f'dict(type="CrossEntropyLoss"{", use_sigmoid=True" if out_channels == 1 else ""})'
    )
    if "loss_decode" not in head:
        return cross_entropy
    losses, inherited = head["loss_decode"], "_base_.model.decode_head.loss_decode"
    names = [type_name(loss) for loss in ([losses] if isinstance(losses, dict) else losses)]
    fitting = [i for i, name in enumerate(names) if can_train_points(name, out_channels)]
    if len(fitting) == len(names):
        return inherited
    rest = " and ".join(names[index] for index in fitting) or "CrossEntropyLoss"
    print_log(
        f"{', '.join(name for i, name in enumerate(names) if i not in fitting)} cannot train the "
        f"point head, which gets {rest} alone.",
        logger="current",
        level=logging.WARNING,
    )
    if not fitting:
        return cross_entropy
    return "[" + ", ".join(f"{inherited}[{index}]" for index in fitting) + "]"


def feature_levels(model: nn.Module, size: int = PROBE) -> tuple[list[Level], int]:
    """Find out which feature maps a segmentor has, and how fine its logits are.

    Args:
        model (nn.Module): An ``EncoderDecoder``.
        size (int): Height and width of an image that it takes. Defaults to 256.

    Returns:
        tuple[list[Level], int]: The outputs of its backbone, or of its neck if it has one, in their
        order; and the stride of its logits.
    """
    with torch.no_grad():
        features = model.eval().extract_feat(torch.zeros(1, 3, size, size))
        logits = logit_map(model.decode_head(features))
    levels = [
        Level(index, feature.shape[1], round(size / feature.shape[-1]))
        for index, feature in enumerate(as_levels(features))
    ]
    return levels, round(size / logits.shape[-1])


def fine_level(levels: list[Level], coarse_stride: int) -> Level:
    """Choose fine features.

    Args:
        levels (list[Level]): The feature maps that a model has.
        coarse_stride (int): Stride of its logits.

    Returns:
        Level: The coarsest of those with the paper's stride of 4 or finer, if not coarser than the
        logits; the finest if there is none.
    """
    fine = [level for level in levels if level.stride <= min(FINE_STRIDE, coarse_stride)]
    if fine:
        return max(fine, key=lambda level: level.stride)
    return min(levels, key=lambda level: level.stride)


def _probe(
    model: nn.Module, img_size: int | tuple[int, int], config: Path
) -> tuple[list[Level], int]:
    size = img_size if isinstance(img_size, int) else img_size[0]
    try:
        return feature_levels(model, size)
    except Exception as error:  # whatever a model makes of an image that it was not made for
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            f"{config}: the model does not run on an image of {size}x{size} pixels ({reason}); "
            "write the config by hand (docs/retrofit.md)."
        ) from error


def _build(cfg: Config, config: Path) -> nn.Module:
    """The coarse model of a config, without the weights that its backbone starts from."""
    model = cfg.get("model")
    if model is None or type_name(model) != "EncoderDecoder":
        raise InputError(
            f"{config} has no model of type EncoderDecoder, the segmentor with one decode head "
            f"that PointRend can sharpen, but {model and model.get('type')}."
        )
    if "custom_imports" in cfg:
        import_modules_from_strings(**cfg.custom_imports)
    init_default_scope(cfg.get("default_scope", "mmseg"))
    return MODELS.build({**model, "train_cfg": None, "pretrained": None})
