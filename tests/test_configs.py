"""Every config builds; one for each model trains a step and predicts, without downloads."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample

from mmseg_pointrend import DenseRenderer, PointRendHead
from mmseg_pointrend.datasets import check_data_settings
from mmseg_pointrend.errors import InputError

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.py"))
POINTREND = [name for name in CONFIGS if name.startswith("pointrend_")]
# The others differ from these in their depth or in their data alone.
ONE_FOR_EACH_MODEL = [
    name
    for name in CONFIGS
    if "r101" not in name and not name.endswith(("_ade20k", "_voc12aug", "_r50_camvid"))
]

MakeSamples = Callable[..., list[SegDataSample]]


def load(name: str) -> Config:
    cfg = Config.fromfile(FOLDER / f"{name}.py")
    cfg.model.backbone.init_cfg = None  # nothing is downloaded
    return cfg


def train_and_predict(cfg: Config, num_classes: int, make_samples: MakeSamples) -> dict:
    """Losses of a step on two random crops of 64 x 64, after which all weights have gradients."""
    cfg.model.data_preprocessor.size = (64, 64)
    model = MODELS.build(cfg.model)
    images = list(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    labels = torch.randint(0, num_classes, (2, 64, 64))
    batch = model.data_preprocessor(
        dict(inputs=images, data_samples=make_samples(labels)), training=True
    )
    total, losses = model.parse_losses(model(**batch, mode="loss"))
    total.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)

    samples = make_samples(torch.zeros(1, 50, 70, dtype=torch.int64))
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    with torch.no_grad():
        (result,) = model.eval().test_step(dict(inputs=[image], data_samples=samples))
    assert result.pred_sem_seg.data.shape == (1, 50, 70)
    assert result.seg_logits.data.shape == (num_classes, 50, 70)
    return losses


def test_there_is_a_config_for_every_recipe() -> None:
    assert {
        "pointrend_r50_cityscapes",
        "pointrend_deeplabv3_r50_cityscapes",
        "pointrend_r18_camvid",
        "pointrend_deeplabv3_r18_camvid",
        "fpn_r18_camvid",
        "deeplabv3_r18_camvid",
        "pointrend_r18_shapes",
        "fpn_r18_shapes",
    } <= set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_builds(name: str) -> None:
    with torch.device("meta"):
        model = MODELS.build(load(name).model)
    assert isinstance(model.decode_head, PointRendHead) == (name in POINTREND)


@pytest.mark.parametrize("name", ONE_FOR_EACH_MODEL)
def test_trains_a_step_and_predicts(name: str, make_samples: MakeSamples) -> None:
    cfg = load(name)
    losses = train_and_predict(cfg, cfg.model.decode_head.num_classes, make_samples)
    assert all(loss.isfinite() for loss in losses.values())
    parts = {key.split(".")[1] for key in losses if key.startswith("decode.")}
    assert parts >= {"coarse", "point"} if name in POINTREND else {"loss_ce", "acc_seg"} <= parts


@pytest.mark.parametrize("name", ["pointrend_r18_camvid", "pointrend_deeplabv3_r18_camvid"])
def test_a_child_changes_the_number_of_classes_in_one_place(
    name: str, make_samples: MakeSamples
) -> None:
    cfg = load(name)
    cfg.merge_from_dict({"model.decode_head.num_classes": 7})
    assert train_and_predict(cfg, 7, make_samples)["loss"].isfinite()


@pytest.mark.parametrize("name", CONFIGS)
def test_head_and_data_agree(name: str) -> None:
    cfg = load(name)
    assert cfg.crop_size == cfg.model.data_preprocessor.size
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        dataset = loader.dataset
        while "datasets" in dataset:
            dataset = dataset.datasets[0]
        classes = DATASETS.get(dataset.type).METAINFO["classes"]
        assert cfg.model.decode_head.num_classes == len(classes)
    # plain MMSegmentation tools find the package too
    assert cfg.custom_imports.imports == ["mmseg_pointrend"]
    assert {hook.type for hook in cfg.custom_hooks} >= {"DataCheckHook", "InvalidLossHook"}
    assert "SyncBN" not in cfg.pretty_text


def test_the_template_for_own_data_makes_a_recipe(tmp_path: Path) -> None:
    """What the README says: a copy with its first lines changed, and a recipe of a few lines."""
    template = (FOLDER / "_base_" / "datasets" / "own_data.py").read_text()
    changed = template.replace('"data/mydata"', repr(str(tmp_path))).replace('".jpg"', '".png"')
    (tmp_path / "mydata.py").write_text(changed.replace("(512, 512)", "(32, 48)"))
    (tmp_path / "recipe.py").write_text(
        f"""_base_ = [
    "{FOLDER}/_base_/models/pointrend_r50.py",
    "./mydata.py",
    "{FOLDER}/_base_/schedules/schedule_20k.py",
    "{FOLDER}/_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
)
"""
    )
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / "a.png"), np.full((40, 60), 2, dtype=np.uint8))
    cfg = Config.fromfile(tmp_path / "recipe.py")
    assert cfg.model.decode_head.num_classes == 3
    assert cfg.model.data_preprocessor.size == (32, 48)
    check_data_settings(cfg, ["train_dataloader"])
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    sample = dataset[0]
    assert sample["inputs"].shape == (3, 32, 48)
    assert (sample["data_samples"].gt_sem_seg.data == 2).all()
    cfg.train_dataloader.dataset.img_suffix = ".jpg"
    with pytest.raises(InputError, match=r"no image \.jpg in .*images/train; set img_suffix"):
        check_data_settings(cfg, ["train_dataloader"])


@pytest.mark.parametrize("name", [name for name in POINTREND if name.endswith("cityscapes")])
def test_cityscapes_follows_the_paper(name: str) -> None:
    cfg = load(name)
    assert cfg.crop_size == (512, 1024)
    assert cfg.train_cfg.max_iters == 80000
    head = MODELS.build(cfg.model.decode_head)
    assert isinstance(head, PointRendHead)
    assert head.point_sampler.num_points == 2048
    assert head.point_sampler.oversample_ratio == 3
    assert head.point_sampler.importance_sample_ratio == 0.75
    assert isinstance(head.renderer, DenseRenderer)
    assert head.renderer.subdivision.num_points == 8192
    assert len(head.point_head.fcs) == 3
    backbone = Config.fromfile(FOLDER / f"{name}.py").model.backbone
    assert backbone.init_cfg.checkpoint == f"open-mmlab://resnet{backbone.depth}_v1c"


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("pointrend_r18_shapes", "fpn_r18_shapes"),
        ("pointrend_r18_camvid", "fpn_r18_camvid"),
        ("pointrend_deeplabv3_r18_camvid", "deeplabv3_r18_camvid"),
    ],
)
def test_twins_differ_in_nothing_but_the_points(name: str, twin: str) -> None:
    ours, theirs = load(name).to_dict(), load(twin).to_dict()
    head, plain = ours["model"].pop("decode_head"), theirs["model"].pop("decode_head")
    coarse = {**head["coarse_head"], "num_classes": head["num_classes"]}
    assert {key: plain[key] for key in coarse} == coarse
    assert ours == theirs


@pytest.mark.parametrize("name", ["r50", "r18", "deeplabv3_r50", "deeplabv3_r18"])
def test_a_base_model_is_the_coarse_model_that_it_says(name: str) -> None:
    models = FOLDER / "_base_" / "models"
    plain = name if name.startswith("deeplabv3") else f"fpn_{name}"
    theirs = Config.fromfile(models / f"{plain}.py").model.to_dict()
    ours = Config.fromfile(models / f"pointrend_{name}.py").model.to_dict()
    head = ours.pop("decode_head")
    assert theirs.pop("decode_head") == {**head["coarse_head"], "num_classes": 19}
    assert ours == theirs
