"""What all tests share."""

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmengine.visualization import Visualizer
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from mmseg_pointrend.checkpoints.reading import trust_mmengine_checkpoints

ROOT = Path(__file__).parents[1]

# configs/pointrend_r18_shapes.py with everything made small; {root} is that of the repository.
TINY_CONFIG = """
_base_ = "{root}/configs/pointrend_r18_shapes.py"
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(base_channels=4, stem_channels=8),
    neck=dict(in_channels=[4, 8, 16, 32], out_channels=8),
    decode_head=dict(
        coarse_head=dict(in_channels=[8, 8, 8, 8], channels=8), in_channels=8, channels=8
    ),
)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(size=64, length=8)
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(size=64, length=2))
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(size=64, length=2))
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
"""

if "LoadImageFromNpyFile" not in TRANSFORMS:  # OpenMMLab's MMSegmentation has none

    @TRANSFORMS.register_module()
    class LoadImageFromNpyFile(LoadImageFromFile):
        def transform(self, results: dict) -> dict:
            image = np.load(results["img_path"])
            size = image.shape[:2]
            return {**results, "img": image, "img_shape": size, "ori_shape": size}


@pytest.fixture(autouse=True)
def _mmseg_scope() -> None:
    """Build from MMSegmentation's registries, whatever an earlier test made the default."""
    init_default_scope("mmseg")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _forget_runs() -> None:
    # MMEngine keeps these by name; a second run in a process would go on with those of the first.
    for manager in (MMLogger, MessageHub, Visualizer, SegLocalVisualizer):
        manager._instance_dict.clear()


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each kind of device; a GPU for those who ask for tests marked so."""
    return request.param


@pytest.fixture
def fresh_runs() -> Iterator[None]:
    """Let every run in this process start as in one of its own."""
    _forget_runs()
    yield
    _forget_runs()


@pytest.fixture
def run_tool(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh_runs: None
) -> Callable[..., None]:
    """Run a tool of tools/ by its name and arguments in this process, in the folder tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "0")

    def run(name: str, *arguments: object) -> None:
        path = str(ROOT / "tools" / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        _forget_runs()
        runpy.run_path(path, run_name="__main__")

    return run


@pytest.fixture
def tiny_model() -> Callable[..., ConfigDict]:
    """Config of a small model; keyword arguments are keys of its decode head."""

    def build(**decode_head: Any) -> ConfigDict:
        cfg = Config(
            dict(
                model=dict(
                    type="EncoderDecoder",
                    data_preprocessor=dict(type="SegDataPreProcessor", size=(64, 64)),
                    backbone=dict(
                        type="ResNet",
                        depth=18,
                        base_channels=4,
                        stem_channels=8,
                        norm_cfg=dict(type="BN"),
                        strides=(1, 2, 2, 2),
                        dilations=(1, 1, 1, 1),
                        out_indices=(0, 1, 2, 3),
                        init_cfg=None,
                    ),
                    neck=dict(type="FPN", in_channels=[4, 8, 16, 32], out_channels=8, num_outs=4),
                    decode_head=dict(
                        type="PointRendHead",
                        coarse_head=dict(
                            type="FPNHead",
                            in_channels=[8, 8, 8, 8],
                            in_index=[0, 1, 2, 3],
                            feature_strides=[4, 8, 16, 32],
                            channels=8,
                            dropout_ratio=0,
                            norm_cfg=dict(type="BN"),
                            loss_decode=dict(type="CrossEntropyLoss"),
                        ),
                        in_channels=8,
                        in_index=0,
                        channels=8,
                        num_classes=6,
                    ),
                    train_cfg=dict(),
                    test_cfg=dict(mode="whole"),
                )
            )
        )
        cfg.merge_from_dict({"model.decode_head": decode_head})
        return cfg.model

    return build


@pytest.fixture
def make_samples() -> Callable[..., list[SegDataSample]]:
    """Data samples with these labels, (B, H, W)."""

    def build(labels: torch.Tensor, **meta: Any) -> list[SegDataSample]:
        samples = []
        for label in labels:
            size = tuple(label.shape)
            sample = SegDataSample(metainfo={"img_shape": size, "ori_shape": size, **meta})
            sample.gt_sem_seg = PixelData(data=label.unsqueeze(0))
            samples.append(sample)
        return samples

    return build


@pytest.fixture
def trusted_mmengine() -> Iterator[None]:
    """What MMEngine 0.10.7 needs to read its own checkpoints since PyTorch 2.6."""
    before = torch.serialization.get_safe_globals()
    trust_mmengine_checkpoints()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


@pytest.fixture
def image() -> np.ndarray:
    """A BGR image of 41 rows and 53 columns with some structure."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), dtype=np.uint8))[:41, :53]


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config file of a tiny PointRend on shapes."""
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(TINY_CONFIG.format(root=ROOT.as_posix()))
    return path


@pytest.fixture(scope="session")
def checkpoint(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two iterations of ``tiny_config`` leave."""
    folder = tmp_path_factory.mktemp("trained")
    cfg = Config.fromfile(tiny_config)
    cfg.work_dir = str(folder)
    _forget_runs()
    Runner.from_cfg(cfg).train()
    _forget_runs()
    return folder / "iter_2.pth"
