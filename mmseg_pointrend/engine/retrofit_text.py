"""The text of a retrofit's config: what it sets on top of the config of a trained model."""

import json
import logging
import os
from pathlib import Path

from mmengine.logging import print_log
from mmseg.models import SegDataPreProcessor

from ..config import parts, type_name
from ..models.image_branch import ImageBranch
from ..models.losses import can_train_points
from ..points import stride16_cells
from .coarse_model import CoarseModel, Level

# What a retrofit sets beyond the published method; docs/results.md has what each brings.
BOUNDARY_RATIO = 0.5
POINTS_PER_CELL = 4  # training and rendered points to a cell of stride 16 of the crop
NEIGHBORHOOD_STRIDE = 4  # levels up to this stride are read in neighborhoods of 3x3 cells
# Test images are padded to whole cells of the coarsest maps, of stride 32 in most backbones.
SIZE_DIVISOR = 32
SIZE_DIVISORS = {"DDRNet": 64, "PIDNet": 64}
# Settings of a trained model that its retrofit leaves out or has in its own place.
REPLACED = {"type", "decode_head", "auxiliary_head", "num_stages", "pretrained"}
# Settings of PointRendHead that it takes from the trained head, and their defaults.
HEAD_DEFAULTS = dict(threshold=None, ignore_index=255, align_corners=False)
# A step takes little more than the forward pass of a validation: shorter runs have one, at the end.
SHORTEST_INTERVAL = 500

HEADER = "# PointRend on "
CONFIG = """\
{header}{name}: only its point head trains.
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


def retrofit_text(
    coarse: CoarseModel,
    levels: list[Level],
    reads_image: bool,
    checkpoint: str,
    target: Path,
    iters: int,
) -> str:
    """The config of a retrofit whose point head reads ``levels``, finest first, and with
    ``reads_image`` an image branch; see :func:`~mmseg_pointrend.engine.retrofit.write_config`."""
    return CONFIG.format(
        header=HEADER,
        name=coarse.path.name,
        base=Path(os.path.relpath(coarse.path, target.parent)).as_posix(),
        imports=json.dumps(_imports(coarse)),
        checkpoint=checkpoint,
        model=_lines(_model_settings(coarse, reads_image), 4),
        head=_lines(_head_settings(coarse, levels, reads_image), 8),
        iters=iters,
        warmup=max(1, min(200, iters // 10)),
        interval=max(iters // 10, min(iters, SHORTEST_INTERVAL)),
    )


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
    """Settings of the PointRendHead, as Python."""
    head, built = coarse.cfg.model.decode_head, coarse.network.decode_head
    if isinstance(head, list):
        built = built[-1]
    neighborhoods = [3 if level.stride <= NEIGHBORHOOD_STRIDE else 1 for level in levels]
    points = POINTS_PER_CELL * stride16_cells(coarse.crop_size)
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
        image = f"in_channels={coarse.in_channels}" if coarse.in_channels != 3 else ""
        settings["image_branch"] = f"dict({image})"
        neighborhoods = [3] * len(ImageBranch().channels) + neighborhoods
    settings |= {
        "point_features": f"dict(neighborhood={neighborhoods})",
        "point_sampler": f"dict(num_points={points}, boundary_ratio={BOUNDARY_RATIO}, "
        'padding_mode="border")',
        "renderer": f"dict({steps}subdivision_num_points={points})",
        "num_classes": str(built.num_classes),
    }
    for key, default in {"out_channels": built.num_classes, **HEAD_DEFAULTS}.items():
        if getattr(built, key, default) != default:
            settings[key] = str(getattr(built, key))
    settings["loss_decode"] = _losses(head, built.out_channels)
    return settings


def _losses(head: dict | list, out_channels: int) -> str:
    """The losses of a coarse head, as far as they can be taken at points, as Python."""
    path = "_base_.model.decode_head"
    if isinstance(head, list):
        head, path = head[-1], f"{path}[-1]"
    elif "kernel_generate_head" in head:
        head, path = head.kernel_generate_head, f"{path}.kernel_generate_head"
    names = [type_name(loss) for loss in parts(head.get("loss_decode"))]
    fitting = [i for i, name in enumerate(names) if can_train_points(name, out_channels)]
    if names and len(fitting) == len(names):
        return f"{path}.loss_decode"
    if names:
        others = ", ".join(name for i, name in enumerate(names) if i not in fitting)
        print_log(
            f"Losses that cannot train the point head are left out of it: {others}.",
            logger="current",
            level=logging.WARNING,
        )
    if fitting:
        return "[" + ", ".join(f"{path}.loss_decode[{index}]" for index in fitting) + "]"
    sigmoid = ", use_sigmoid=True" if out_channels == 1 else ""
    return f'dict(type="CrossEntropyLoss"{sigmoid})'
