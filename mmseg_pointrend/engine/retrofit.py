"""Putting a point head on a trained model: which features it reads, and the config that does it."""

import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import print_log
from mmseg.models import SegDataPreProcessor

from ..checkpoints.fitting import load_weights
from ..checkpoints.reading import checkpoints_as_data
from ..config import parts, type_name
from ..errors import InputError
from ..files import replacing
from ..models.image_branch import ImageBranch
from ..models.losses import can_train_points
from ..points import stride16_cells
from .coarse_model import CoarseModel, Level, read_coarse_model
from .proof import prove

FINE_STRIDE = 4  # as in the paper; a model without it gets a branch on the image
COARSEST_STRIDE = 16  # of the levels that the point head reads
# Test images are padded to whole cells of the coarsest maps, of stride 32 in most backbones.
SIZE_DIVISOR = 32
SIZE_DIVISORS = {"DDRNet": 64, "PIDNet": 64}
# Settings of a trained model that its retrofit leaves out or has in its own place.
REPLACED = {"type", "decode_head", "auxiliary_head", "num_stages", "pretrained"}

CONFIG = """\
# PointRend on {name}: only its point head trains.
_base_ = "{base}"
custom_imports = dict(imports={imports}, allow_failed_imports=False)
load_from = "{checkpoint}"
model = dict(
    _delete_=True,
    type="RetrofitEncoderDecoder",
{model}    decode_head=dict(
{head}    ),
)
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=4e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=5),
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
    checkpoint=dict(
        type="CheckpointHook",
        by_epoch=False,
        interval={interval},
        backend_args=dict(backend="whole"),
    ),
)
log_processor = dict(by_epoch=False)
"""
HEADER = CONFIG.partition("{")[0]  # by which the tool knows its own files


class Retrofit(NamedTuple):
    """What was written."""

    levels: list[Level]  # that the model has
    chosen: list[Level]  # that the point head reads, finest first
    reads_image: bool  # levels of stride 2 and 4 of an image branch too
    # Share of the labels that differ from the model's before any training and without subdivision
    # steps; None if that was not checked.
    differing: float | None


def write_recipe(
    config: str | Path,
    checkpoint: str | Path,
    target: str | Path,
    iters: int = 20000,
    check: bool = True,
    trust: bool = False,
) -> Retrofit:
    """Write the config of a PointRend model on top of a trained model.

    Options are those of ``tools/retrofit.py``; ``check`` proves the config before it is written,
    see :func:`~mmseg_pointrend.engine.proof.prove`. Raises InputError if that fails, ``target`` is
    no name for a new config, or PointRend cannot be put on this model.
    """
    config, target, source = Path(config), Path(target), str(checkpoint)
    if iters < 2:
        raise InputError(f"iters must be at least 2, got {iters}.")
    if target.suffix != ".py":
        raise InputError(f"{target}: a config is a Python file; give it the suffix .py.")
    if target.is_file() and not target.read_bytes().startswith(HEADER.encode()):
        raise InputError(f"{target} exists and was not written by this tool; choose another --out.")
    if "://" not in source:
        source = Path(source).expanduser().resolve().as_posix()
    with checkpoints_as_data(trust):
        coarse = read_coarse_model(config)
    load_weights(coarse.network, source, trust=trust)
    return write_config(coarse, source, target, iters, check)


def write_config(
    coarse: CoarseModel, checkpoint: str, target: Path, iters: int = 20000, check: bool = True
) -> Retrofit:
    """Write the config of a PointRend model on top of a model; see :func:`write_recipe`."""
    chosen = choose_levels(coarse.levels)
    reads_image = chosen[0].stride > FINE_STRIDE
    text = CONFIG.format(
        name=coarse.path.name,
        base=Path(os.path.relpath(coarse.path, target.parent)).as_posix(),
        imports=json.dumps(_imports(coarse)),
        checkpoint=checkpoint,
        model=_lines(_model_settings(coarse, reads_image), 4),
        head=_lines(_head_settings(coarse, chosen, reads_image), 8),
        iters=iters,
        warmup=max(1, min(200, iters // 10)),
        # A step takes little more than validating an image: short runs validate once, at the end.
        interval=max(iters // 10, min(iters, 500)),
    )
    differing = None
    with replacing(target) as partial:
        partial.write_text(text)
        if check:  # under a name that MMEngine takes for a config, and in the folder of _base_
            with tempfile.NamedTemporaryFile("w", suffix=".py", dir=target.parent) as trial:
                trial.write(text)
                trial.flush()
                differing = prove(Path(trial.name), coarse)
    return Retrofit(coarse.levels, chosen, reads_image, differing)


def choose_levels(levels: Sequence[Level]) -> list[Level]:
    """Choose the levels that the point head reads, finest first.

    Of the levels of one stride it reads the first: what the deeper ones know is in the coarse
    logits. Those coarser than ``COARSEST_STRIDE`` are left out unless there is no other.
    """
    first = {level.stride: level for level in reversed(levels)}
    finest_first = [first[stride] for stride in sorted(first)]
    fine = [level for level in finest_first if level.stride <= COARSEST_STRIDE]
    return fine or finest_first[:1]


def _imports(coarse: CoarseModel) -> list[str]:
    imports = (coarse.cfg.get("custom_imports") or {}).get("imports", [])
    return sorted({*([imports] if isinstance(imports, str) else imports), "mmseg_pointrend"})


def _lines(settings: dict[str, str], indent: int) -> str:
    return "".join(f"{' ' * indent}{key}={value},\n" for key, value in settings.items())


def _model_settings(coarse: CoarseModel, reads_image: bool) -> dict[str, str]:
    """Settings of the model but for its decode head, as Python."""
    model = coarse.cfg.model
    changes = {}
    padding = (model.get("data_preprocessor") or {}).get("test_cfg") or {}
    takes_padding = isinstance(coarse.network.data_preprocessor, SegDataPreProcessor)
    if takes_padding and not {"size", "size_divisor"} & set(padding):
        divisor = SIZE_DIVISORS.get(type_name(model.backbone), SIZE_DIVISOR)
        changes["data_preprocessor"] = f"test_cfg=dict(size_divisor={divisor})"
    if reads_image:
        for part in ("backbone", "neck") if model.get("neck") else ("backbone",):
            changes[part] = f'type="WithImage", of=_base_.model.{part}.type'
    settings = {key: f"_base_.model.{key}" for key in model if key not in REPLACED}
    for key, change in changes.items():
        settings[key] = f"dict({settings[key]}, {change})"
    return settings


def _head_settings(coarse: CoarseModel, levels: list[Level], reads_image: bool) -> dict[str, str]:
    """Settings of the PointRendHead, as Python; docs/results.md has what most of them bring."""
    head, built = coarse.cfg.model.decode_head, coarse.network.decode_head
    if isinstance(head, list):
        built = built[-1]
    neighborhoods = [3 if level.stride <= FINE_STRIDE else 1 for level in levels]
    points = 4 * stride16_cells(coarse.crop_size)  # four times as many as published
    # Logits of the image's size are refined one step beyond it, at half-pixel spacing.
    steps = "subdivision_steps=1, " if coarse.stride == 1 else ""
    settings = {
        "type": '"PointRendHead"',
        "coarse_head": "_base_.model.decode_head",
        "in_channels": str([level.channels for level in levels]),
        "in_index": str([level.index for level in levels]),
        "channels": "256",
        "point_head": 'dict(standardize=True, init_cfg=dict(type="CoarseIdentity"))',
    }
    if reads_image:
        settings["image_branch"] = f"dict(in_channels={coarse.in_channels})"
        neighborhoods = [3] * len(ImageBranch().channels) + neighborhoods
    settings |= {
        "point_features": f"dict(neighborhood={neighborhoods})",
        "point_sampler": f'dict(num_points={points}, boundary_ratio=0.5, padding_mode="border")',
        "renderer": f"dict({steps}subdivision_num_points={points})",
        "num_classes": str(built.num_classes),
    }
    defaults = dict(threshold=None, ignore_index=255, align_corners=False)
    for key, default in {"out_channels": built.num_classes, **defaults}.items():
        if getattr(built, key, default) != default:
            settings[key] = str(getattr(built, key))
    settings["loss_decode"] = str(_losses(head, built.out_channels))
    return settings


def _losses(head: dict | list, out_channels: int) -> list[dict]:
    """The losses of a coarse head, as far as they can be taken at points."""
    head = head[-1] if isinstance(head, list) else head.get("kernel_generate_head", head)
    losses = [{**loss, "type": type_name(loss)} for loss in parts(head.get("loss_decode"))]
    fitting = [loss for loss in losses if can_train_points(loss["type"], out_channels)]
    if len(fitting) < len(losses):
        others = ", ".join(loss["type"] for loss in losses if loss not in fitting)
        print_log(
            f"Losses that cannot train the point head are left out of it: {others}.",
            logger="current",
            level=logging.WARNING,
        )
    return fitting or [dict(type="CrossEntropyLoss", use_sigmoid=out_channels == 1)]
