import os.path
import pickle

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmseg.registry import DATASETS

from mmseg_pointrend.datasets import ShapesDataset
from mmseg_pointrend.datasets.drawing import render_shapes

CONFIG = os.path.join(os.path.dirname(__file__), "../../configs/_base_/datasets/shapes.py")
LOAD = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]


def test_pipeline_gives_the_picture() -> None:
    dataset = ShapesDataset(size=(48, 64), length=3, seed=5, pipeline=LOAD, test_mode=True)
    assert len(dataset) == 3
    sample = dataset[2]
    image, label = render_shapes(5, 2, (48, 64))
    truth = sample["data_samples"]
    np.testing.assert_array_equal(sample["inputs"].permute(1, 2, 0).numpy(), image)
    np.testing.assert_array_equal(truth.gt_sem_seg.data[0].numpy(), label)
    assert truth.gt_sem_seg.data.dtype == torch.int64
    assert truth.ori_shape == truth.img_shape == (48, 64)
    assert os.path.basename(truth.img_path) == "shapes_seed5_000002.png"
    # What draws predictions over images reads them again by their path.
    np.testing.assert_array_equal(mmcv.imread(truth.img_path), image)


def test_metainfo_and_subset_of_classes() -> None:
    meta = ShapesDataset(length=1).metainfo
    assert meta["classes"] == ("background", "disc", "polygon", "ring", "star", "stroke")
    assert len(meta["palette"]) == 6
    subset = ShapesDataset(length=1, pipeline=LOAD, metainfo=dict(classes=("star", "background")))
    label = torch.from_numpy(render_shapes(0, 0, (256, 256))[1]).long()
    expected = torch.tensor([1, 255, 255, 255, 0, 255])[label]
    assert torch.equal(subset[0]["data_samples"].gt_sem_seg.data[0], expected)


def test_indices_pickle_and_repeat() -> None:
    dataset = ShapesDataset(size=32, length=9, pipeline=LOAD, indices=[4, 8])
    assert len(dataset) == 2
    first, copy = dataset[1], pickle.loads(pickle.dumps(dataset))[1]
    assert torch.equal(first["inputs"], copy["inputs"])
    assert os.path.basename(first["data_samples"].img_path) == "shapes_seed0_000008.png"


def test_config() -> None:
    cfg = Config.fromfile(CONFIG)
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert train.seed != val.seed
    for dataset in (train, val):
        sample = DATASETS.build(dataset)[0]
        assert sample["inputs"].shape == (3, *cfg.crop_size)
        assert sample["inputs"].dtype == torch.uint8
    tta = DATASETS.build(dict(val, pipeline=cfg.tta_pipeline))[0]
    assert len(tta["inputs"]) == 4
