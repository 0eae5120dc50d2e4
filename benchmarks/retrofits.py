"""Retrofit other kinds of models on CamVid: python -m benchmarks.retrofits [NAME ...] --out DIR

Each head trains for 150 steps on the frozen backbone of aspp_lite0_camvid, which
``python -m benchmarks.camvid aspp_lite0_camvid --out DIR`` trains; then tools/retrofit.py puts a
point head on the model, which trains for 300 steps.
"""

import argparse
from pathlib import Path

from benchmarks.camvid import ASPP, ROOT, read_results
from benchmarks.experiments import Experiment, markdown_table, run_experiment
from mmseg_pointrend.engine.retrofit import write_recipe
from mmseg_pointrend.errors import one_line_errors

STEPS = 150  # of the model
RETROFIT_STEPS = 300
SEED = 0
BN = dict(type="BN", requires_grad=True)
# Strides 16 and 32, brought to stride 16.
ON_STRIDE_16 = dict(in_channels=[112, 320], in_index=[3, 4], input_transform="resize_concat")
HEAD = dict(channels=128, norm_cfg=BN, num_classes=11)
FCN = dict(HEAD, type="FCNHead", num_convs=1, concat_input=False)
KERNEL_UPDATE = dict(
    type="KernelUpdateHead",
    num_classes=11,
    num_ffn_fcs=2,
    num_heads=8,
    num_mask_fcs=1,
    feedforward_channels=512,
    in_channels=128,
    out_channels=128,
    dropout=0.0,
    ffn_act_cfg=dict(type="ReLU", inplace=True),
    with_ffn=True,
    feat_transform_cfg=dict(conv_cfg=dict(type="Conv2d"), act_cfg=None),
    kernel_updator_cfg=dict(
        type="KernelUpdator",
        in_channels=128,
        feat_channels=128,
        out_channels=128,
        act_cfg=dict(type="ReLU", inplace=True),
        norm_cfg=dict(type="LN"),
    ),
)
ATTENTION = dict(embed_dims=64, num_heads=8, batch_first=True)
MASK_HEAD = dict(
    type="MaskFormerHead",
    in_channels=[24, 40, 112, 320],
    in_index=[0, 1, 2, 3],
    feat_channels=64,
    out_channels=64,
    num_classes=11,
    num_queries=20,
    pixel_decoder=dict(type="mmdet.PixelDecoder", norm_cfg=dict(type="GN", num_groups=8)),
    positional_encoding=dict(num_feats=32, normalize=True),
    transformer_decoder=dict(
        return_intermediate=True,
        num_layers=3,
        layer_cfg=dict(
            self_attn_cfg=ATTENTION,
            cross_attn_cfg=ATTENTION,
            ffn_cfg=dict(embed_dims=64, feedforward_channels=256, num_fcs=2),
        ),
    ),
    loss_cls=dict(type="mmdet.CrossEntropyLoss", class_weight=[1.0] * 11 + [0.1]),
    loss_mask=dict(type="mmdet.FocalLoss", use_sigmoid=True, loss_weight=20.0),
    loss_dice=dict(
        type="mmdet.DiceLoss", use_sigmoid=True, activate=True, naive_dice=True, eps=1.0
    ),
    train_cfg=dict(
        assigner=dict(
            type="mmdet.HungarianAssigner",
            match_costs=[
                dict(type="mmdet.ClassificationCost", weight=1.0),
                dict(type="mmdet.FocalLossCost", weight=20.0, binary_input=True),
                dict(type="mmdet.DiceCost", weight=1.0, pred_act=True, eps=1.0),
            ],
        ),
        sampler=dict(type="mmdet.MaskPseudoSampler"),
    ),
)


def coarse_models(weights: str) -> dict[str, Experiment]:
    """Trainings of each kind of head on a frozen backbone.

    Args:
        weights (str): Checkpoint of aspp_lite0_camvid, which has the weights of the backbone.
    """
    init = dict(type="Pretrained", checkpoint=weights, prefix="backbone")
    backbone = dict(type="EfficientNetLite", frozen_stages=5, init_cfg=init)
    two_paths = dict(  # the finest level has stride 8
        type="BiSeNetV1",
        backbone_cfg=dict(backbone, out_indices=(1, 2, 3, 4)),
        spatial_channels=(64, 64, 64, 48),
        context_channels=(64, 112, 320),
        out_channels=128,
    )
    shared = {
        "model.backbone": dict(backbone, _delete_=True),
        "train_cfg.max_iters": STEPS,
        "train_cfg.val_interval": STEPS,
        "param_scheduler.0.end": 20,
        "param_scheduler.1.begin": 20,
        "param_scheduler.1.end": STEPS,
        "optim_wrapper.clip_grad": dict(max_norm=5, _delete_=True),
        # each is tested once, afterwards
        "val_cfg": None,
        "val_dataloader": None,
        "val_evaluator": None,
    }
    head = "model.decode_head"
    models = {
        "ocrnet": {
            "model.type": "CascadeEncoderDecoder",
            "model.num_stages": 2,
            head: [
                dict(FCN, **ON_STRIDE_16),
                dict(HEAD, type="OCRHead", ocr_channels=64, **ON_STRIDE_16),
            ],
        },
        "bisenetv1": {
            "model.backbone": dict(two_paths, _delete_=True),
            head: dict(FCN, _delete_=True, in_channels=128, in_index=0, channels=64),
        },
        "knet": {
            head: dict(
                _delete_=True,
                type="IterativeDecodeHead",
                num_stages=3,
                kernel_update_head=[KERNEL_UPDATE] * 3,
                kernel_generate_head=dict(FCN, num_convs=2, **ON_STRIDE_16),
            ),
        },
        "maskformer": {  # reads all levels there are
            "model.backbone": dict(backbone, out_indices=(1, 2, 3, 4), _delete_=True),
            head: dict(MASK_HEAD, _delete_=True),
            "custom_imports.imports": ["mmdet.models", "mmseg_pointrend"],
            "optim_wrapper.optimizer.lr": 5e-4,
        },
    }
    return {
        name: Experiment(name, f"{ASPP}.py", {**shared, **options})
        for name, options in models.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [*coarse_models("")]
    parser.add_argument("names", nargs="*", default=names, help=", ".join(names))
    parser.add_argument("--out", type=Path, default=Path("work_dirs/experiments"))
    args = parser.parse_args()
    with one_line_errors():
        rows = [row for name in args.names for row in _run(name, args.out)]
    print(markdown_table((name, read_results(args.out / name)) for name in rows))


def _run(name: str, out: Path) -> list[str]:
    """Train a model and its retrofits; returns the names of their folders."""
    weights = (out / ASPP / f"seed_{SEED}" / "iter_1500.pth").resolve()
    _run_on_camvid(coarse_models(str(weights))[name], out)
    folder = (out / name / f"seed_{SEED}").resolve()
    recipe = folder / "retrofit.py"
    write_recipe(folder / "experiment.py", folder / f"iter_{STEPS}.pth", recipe, RETROFIT_STEPS)
    changes = {f"{name}_retrofit": {}}
    if name == "bisenetv1":
        head = "model.decode_head"
        without = {f"{head}.image_branch": None, f"{head}.point_features.neighborhood": 1}
        changes[f"{name}_retrofit_without_image"] = without
    for retrofit, options in changes.items():
        _run_on_camvid(Experiment(retrofit, str(recipe), options), out)
    return [name, *changes]


def _run_on_camvid(experiment: Experiment, out: Path) -> None:
    run_experiment(
        experiment, SEED, out, ROOT / "configs", ROOT / "tools/train.py", channels_last=True
    )


if __name__ == "__main__":
    main()
