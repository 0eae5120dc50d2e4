from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.evaluation import IoUMetric

from mmseg_pointrend.datasets import CamVidDataset

CONFIG = Path(__file__).parents[2] / "configs" / "_base_" / "datasets" / "camvid.py"
PREFIX = dict(img_path="images/train", seg_map_path="annotations/train")
LOAD = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]
# Every class, void, and two values that no class has.
VALUES = np.array([*range(12), 12, 77, 255], dtype=np.uint8)


@pytest.fixture(autouse=True)
def _mmseg_scope() -> None:
    init_default_scope("mmseg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images of 40x60 pixels; row 0 of the labels holds ``VALUES``."""
    for folder in PREFIX.values():
        (tmp_path / folder).mkdir(parents=True)
    label = np.zeros((40, 60), dtype=np.uint8)
    label[0, : VALUES.size] = VALUES
    for name in ("b", "a"):
        cv2.imwrite(str(tmp_path / PREFIX["img_path"] / f"{name}.jpg"), np.full((40, 60, 3), 99))
        cv2.imwrite(str(tmp_path / PREFIX["seg_map_path"] / f"{name}.png"), label)
    return tmp_path


def loaded_values(dataset: CamVidDataset) -> list[int]:
    return dataset[0]["data_samples"].gt_sem_seg.data[0, 0, : VALUES.size].tolist()


def test_classes_and_palette() -> None:
    meta = CamVidDataset.METAINFO
    names = "sky building pole road pavement tree sign fence car pedestrian bicyclist"
    assert meta["classes"] == tuple(names.split())
    assert len({tuple(color) for color in meta["palette"]}) == 11


@pytest.mark.parametrize("test_mode", [False, True])
def test_void_becomes_ignored_and_strange_values_stay(root: Path, test_mode: bool) -> None:
    dataset = CamVidDataset(
        data_root=str(root), data_prefix=PREFIX, pipeline=LOAD, test_mode=test_mode
    )
    assert len(dataset) == 2
    assert Path(dataset.get_data_info(0)["img_path"]).name == "a.jpg"
    assert loaded_values(dataset) == [*range(11), 255, 12, 77, 255]


def test_subset_of_classes(root: Path) -> None:
    dataset = CamVidDataset(
        data_root=str(root),
        data_prefix=PREFIX,
        pipeline=LOAD,
        metainfo=dict(classes=["car", "sky"]),
    )
    assert dataset.metainfo["palette"] == [[64, 0, 128], [128, 128, 128]]
    expected = [1, *[255] * 7, 0, 255, 255, 255, 12, 77, 255]
    assert loaded_values(dataset) == expected


def test_metric_does_not_score_void(root: Path) -> None:
    dataset = CamVidDataset(data_root=str(root), data_prefix=PREFIX, pipeline=LOAD, test_mode=True)
    truth = dataset[0]["data_samples"].gt_sem_seg.data
    truth[truth == 12] = truth[truth == 77] = 255
    prediction = truth.clone()
    prediction[truth == 255] = 3  # whatever is said about void pixels counts for nothing
    metric = IoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = dataset.metainfo
    metric.process({}, [dict(pred_sem_seg=dict(data=prediction), gt_sem_seg=dict(data=truth))])
    assert metric.evaluate(size=1)["mIoU"] == 100


def test_train_pipeline_of_the_config(root: Path) -> None:
    cfg = Config.fromfile(CONFIG)
    dataset = CamVidDataset(
        data_root=str(root), data_prefix=PREFIX, pipeline=cfg.train_dataloader.dataset.pipeline
    )
    sample = dataset[1]
    height, width = sample["inputs"].shape[1:]
    assert height <= cfg.crop_size[0]
    assert width <= cfg.crop_size[1]
    assert sample["inputs"].dtype == torch.uint8
    assert sample["data_samples"].gt_sem_seg.data.shape == (1, height, width)


def test_images_without_labels(root: Path) -> None:
    dataset = CamVidDataset(
        data_root=str(root), data_prefix=dict(img_path="images/train"), pipeline=LOAD[::2]
    )
    assert dataset[0]["inputs"].shape == (3, 40, 60)
