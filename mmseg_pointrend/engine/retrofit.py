"""Writing the config that turns a trained model into a PointRend model."""

import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from mmengine.logging import print_log
from mmseg.models import SegDataPreProcessor
from torch import nn

from ..checkpoints.fitting import load_weights
from ..checkpoints.reading import checkpoints_as_data
from ..config import type_name, with_own_import
from ..errors import InputError
from ..files import replacing
from ..models.image_branch import ImageBranch
from ..models.losses import can_train_points
from ..points import stride16_cells
from .coarse_model import Level, Offer, build_coarse_model, find_offer, read_model_config
from .proof import prove

# What a retrofit sets beyond the published method; docs/results.md has what each brings.
LEARNING_RATE = 4e-3
GRADIENT_NORM = 5
BOUNDARY_RATIO = 0.5
POINTS_PER_CELL = 4  # training and rendered points to a cell of stride 16 of the crop
COARSEST_STRIDE = 16  # of the levels that the point head reads
NEIGHBORHOOD_STRIDE = 4  # levels up to this stride are read in neighborhoods of 3x3 cells
# The stride of the fine features in the paper; a model without it gets a branch on the image.
FINE_STRIDE = 4
# Test images are padded to whole cells of the coarsest maps, of stride 32 in most backbones.
SIZE_DIVISOR = 32
SIZE_DIVISORS = {"DDRNet": 64, "PIDNet": 64}

HEADER = "# PointRend on "
# A step takes little more than the forward pass of a validation: shorter runs have one, at the end.
SHORTEST_INTERVAL = 500
SCHEDULE = """\
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr={lr}, weight_decay=0.01),
    clip_grad=dict(max_norm={norm}),
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


class Retrofit(NamedTuple):
    """What was written.

    Attributes:
        levels (list[Level]): The feature maps that the model has.
        chosen (list[Level]): Those that the point head reads, finest first.
        reads_image (bool): Whether it reads levels of stride 2 and 4 of an image branch too.
        differing (float, optional): Share of the labels that differ from the model's before any
            training and without subdivision steps; None if that was not checked.
    """

    levels: list[Level]
    chosen: list[Level]
    reads_image: bool
    differing: float | None


def write_recipe(
    config: str | Path,
    checkpoint: str | Path,
    target: str | Path,
    iters: int = 20000,
    published: bool = False,
    check: bool = True,
    trust: bool = False,
) -> Retrofit:
    """Write the config of a PointRend model on top of a trained model.

    Args:
        config (str | Path): Config that the model was trained with.
        checkpoint (str | Path): Its checkpoint, a file or an address.
        target (str | Path): Config file to write.
        iters (int): Iterations to train the point head for. Defaults to 20000.
        published (bool): Whether the point head reads one level and trains as in the paper instead
            of reading several levels, their neighborhoods and more points. Defaults to False.
        check (bool): Whether to train a step and to predict before the file is written, see
            :func:`~mmseg_pointrend.engine.proof.prove`. Defaults to True.
        trust (bool): Whether to run code that the checkpoint carries. Defaults to False.

    Raises:
        InputError: If the config or the checkpoint cannot be read, do not fit each other or are
            those of a model that PointRend cannot be put on, if ``target`` is no name for a new
            config, or if the check fails.
    """
    if iters < 2:
        raise InputError(f"iters must be at least 2, got {iters}.")
    config, target = Path(config), Path(target)
    source = str(checkpoint)
    if "://" not in source:
        source = Path(source).expanduser().resolve().as_posix()
    _check_target(target, (config, Path(source)))
    cfg = read_model_config(config)
    with checkpoints_as_data(trust):
        model = build_coarse_model(cfg, config)
    load_weights(model, source, trust=trust)
    return write_config(cfg, model, config, source, target, iters, published, check)


def write_config(
    cfg: Config,
    model: nn.Module,
    config: Path,
    checkpoint: str,
    target: Path,
    iters: int = 20000,
    published: bool = False,
    check: bool = True,
) -> Retrofit:
    """Write a retrofit's config for a trained model that is built and loaded already.

    Args:
        cfg (Config): Config of the model.
        model (nn.Module): The model, in evaluation mode.
        config, checkpoint, target, iters, published, check: See :func:`write_recipe`.
    """
    offer = find_offer(model, cfg, config)
    chosen = choose_levels(offer, published)
    finest = min(level.stride for level in chosen)
    reads_image = finest > FINE_STRIDE and not published
    if published and finest > FINE_STRIDE:
        print_log(
            f"The finest level that the point head reads has stride {finest}, too coarse for sharp "
            "boundaries; without --published it reads levels of stride 2 and 4 as well.",
            logger="current",
            level=logging.WARNING,
        )
    text = "".join(
        (
            f"{HEADER}{config.name}: only its point head trains.\n",
            f'_base_ = "{Path(os.path.relpath(config, target.parent)).as_posix()}"\n',
            f"custom_imports = dict(imports={json.dumps(with_own_import(cfg))}, "
            "allow_failed_imports=False)\n",
            f'load_from = "{checkpoint}"\n',
            _model_text(cfg, model, offer, chosen, reads_image, published),
            SCHEDULE.format(
                lr=LEARNING_RATE,
                norm=GRADIENT_NORM,
                iters=iters,
                warmup=max(1, min(200, iters // 10)),
                interval=max(iters // 10, min(iters, SHORTEST_INTERVAL)),
            ),
        )
    )
    differing = None
    with replacing(target) as partial:
        partial.write_text(text)
        if check:  # under a name that MMEngine takes for a config, and in the folder of _base_
            with tempfile.NamedTemporaryFile("w", suffix=".py", dir=target.parent) as trial:
                trial.write(text)
                trial.flush()
                differing = prove(Path(trial.name), model, offer, str(config))
    return Retrofit(offer.levels, chosen, reads_image, differing)


def choose_levels(offer: Offer, published: bool = False) -> list[Level]:
    """Choose the levels that the point head reads, finest first.

    Of the levels of one stride it reads the first: what the deeper ones know is in the coarse
    logits. Those coarser than ``COARSEST_STRIDE`` are left out unless there is no other.

    Args:
        offer (Offer): What a model offers.
        published (bool): Whether to choose a single level: the coarsest with the paper's stride of
            4 or finer, if not coarser than the logits; the finest if there is none. Defaults to
            False.
    """
    if published:
        limit = min(FINE_STRIDE, offer.coarse_stride)
        fine = [level for level in offer.levels if level.stride <= limit]
        if fine:
            return [max(fine, key=lambda level: level.stride)]
        return [min(offer.levels, key=lambda level: level.stride)]
    first = {level.stride: level for level in reversed(offer.levels)}
    levels = [first[stride] for stride in sorted(first)]
    return [level for level in levels if level.stride <= COARSEST_STRIDE] or levels[:1]


def _model_text(
    cfg: Config,
    model: nn.Module,
    offer: Offer,
    chosen: list[Level],
    reads_image: bool,
    published: bool,
) -> str:
    """The model of a retrofit's config: settings by key, as the config has them."""
    is_cascade = isinstance(cfg.model.decode_head, list)
    settings = {"type": '"RetrofitEncoderDecoder"'}
    changed = {}
    padding = _padding(cfg, model, offer)
    if padding:
        changed["data_preprocessor"] = f"test_cfg=dict({padding})"
    if reads_image:
        for part in ("backbone", "neck") if cfg.model.get("neck") else ("backbone",):
            changed[part] = f'type="WithImage", of=_base_.model.{part}.type'
    if is_cascade:  # all but num_stages, which no other segmentor takes
        settings = {"_delete_": "True", **settings}
        for key in cfg.model:
            if key not in ("type", "num_stages", "decode_head", "auxiliary_head", "pretrained"):
                settings[key] = f"_base_.model.{key}"
        changed = {key: f"_base_.model.{key}, {value}" for key, value in changed.items()}
    settings.update({key: f"dict({value})" for key, value in changed.items()})
    if cfg.model.get("auxiliary_head") and not is_cascade:
        settings["auxiliary_head"] = "None"
    head = _head_settings(cfg, model, offer, chosen, reads_image, published)
    if not is_cascade:
        head = {"_delete_": "True", **head}
    inner = "".join(f"        {key}={value},\n" for key, value in head.items())
    outer = "".join(f"    {key}={value},\n" for key, value in settings.items())
    return f"model = dict(\n{outer}    decode_head=dict(\n{inner}    ),\n)\n"


def _padding(cfg: Config, model: nn.Module, offer: Offer) -> str:
    """Padding of test images; none where the config has its own or the model takes one size."""
    if not isinstance(model.data_preprocessor, SegDataPreProcessor) or not offer.takes_any_size:
        return ""
    if {"size", "size_divisor"} & set(cfg.model.data_preprocessor.get("test_cfg") or ()):
        return ""
    return f"size_divisor={SIZE_DIVISORS.get(type_name(cfg.model.backbone), SIZE_DIVISOR)}"


def _head_settings(
    cfg: Config,
    model: nn.Module,
    offer: Offer,
    chosen: list[Level],
    reads_image: bool,
    published: bool,
) -> dict[str, str]:
    head, path = cfg.model.decode_head, "_base_.model.decode_head"
    settings = {"type": '"PointRendHead"', "coarse_head": path}
    channels, indices = [level.channels for level in chosen], [level.index for level in chosen]
    settings["in_channels"] = str(channels[0] if published else channels)
    settings["in_index"] = str(indices[0] if published else indices)
    settings["channels"] = "256"
    if reads_image:
        image = f"in_channels={offer.in_channels}" if offer.in_channels != 3 else ""
        settings["image_branch"] = f"dict({image})"
    settings["point_head"] = 'dict(init_cfg=dict(type="CoarseIdentity"))'
    renderer = []
    if offer.coarse_stride == 1:
        # Logits of the image's size are refined one step beyond it, at half-pixel spacing.
        renderer.append("subdivision_steps=1")
    if not published:
        near = [3 if level.stride <= NEIGHBORHOOD_STRIDE else 1 for level in chosen]
        near = [3] * (len(ImageBranch().channels) if reads_image else 0) + near
        points = POINTS_PER_CELL * stride16_cells(offer.crop_size)
        settings["point_features"] = f"dict(neighborhood={near})"
        settings["point_sampler"] = (
            f'dict(num_points={points}, boundary_ratio={BOUNDARY_RATIO}, padding_mode="border")'
        )
        renderer.append(f"subdivision_num_points={points}")
    elif renderer:
        renderer.append("subdivision_num_points=8192")
    if renderer:
        settings["renderer"] = f"dict({', '.join(renderer)})"
    if isinstance(head, list):
        head, path = head[-1], f"{path}[-1]"
    elif "kernel_generate_head" in head:
        head, path = head.kernel_generate_head, f"{path}.kernel_generate_head"
    built = (
        model.decode_head[-1] if isinstance(model.decode_head, nn.ModuleList) else model.decode_head
    )
    settings["num_classes"] = str(built.num_classes)
    if built.out_channels != built.num_classes:
        settings["out_channels"] = str(built.out_channels)
    if built.out_channels == 1:
        settings["threshold"] = str(built.threshold)
    if built.ignore_index != 255:
        settings["ignore_index"] = str(built.ignore_index)
    if built.align_corners:
        settings["align_corners"] = "True"
    settings["loss_decode"] = _losses(head, built.out_channels, f"{path}.loss_decode")
    return settings


def _losses(head: dict, out_channels: int, inherited: str) -> str:
    """The losses of a coarse head, as far as they can be taken at points, as a config has them."""
    sigmoid = ", use_sigmoid=True" if out_channels == 1 else ""
    cross_entropy = f'dict(type="CrossEntropyLoss"{sigmoid})'
    if "loss_decode" not in head:
        return cross_entropy
    losses = head["loss_decode"]
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


def _check_target(target: Path, sources: Sequence[Path]) -> None:
    if target.suffix != ".py":
        raise InputError(f"{target}: a config is a Python file; give it the suffix .py.")
    if target.resolve() in [source.resolve() for source in sources]:
        raise InputError(f"{target} is an input and would be overwritten; choose another --out.")
    if target.is_file() and not target.read_bytes().startswith(HEADER.encode()):
        raise InputError(f"{target} exists and was not written by this tool; choose another --out.")
