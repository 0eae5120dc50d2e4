from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import VISBACKENDS
from mmengine.runner import Runner
from mmengine.visualization import LocalVisBackend

from mmseg_pointrend import PointVisualizationHook
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.images import read_image, write_picture


@pytest.mark.parametrize("interval", [0, -1, 0.5])
def test_intervals_are_whole_numbers(interval: float) -> None:
    with pytest.raises(InputError, match="must be an integer >= 1"):
        PointVisualizationHook(interval=interval)


@pytest.mark.usefixtures("fresh_runs")
def test_validation_leaves_figures_of_some_images(
    tiny_config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    cfg = Config.fromfile(tiny_config)
    cfg.merge_from_dict({"work_dir": str(tmp_path), "load_from": str(checkpoint)})
    cfg.val_dataloader.dataset.length = 3
    cfg.custom_hooks = [dict(type="PointVisualizationHook", interval=2)]
    Runner.from_cfg(cfg).val()
    figures = sorted(tmp_path.rglob("*.png"))
    assert len(figures) == 2
    for figure, index in zip(figures, (0, 2), strict=True):
        assert f"shapes_seed1_{index:06d}" in figure.name
    assert all(read_image(figure).std() > 0 for figure in figures)


@VISBACKENDS.register_module()
class ByName(LocalVisBackend):
    """Stores a picture under its name, as MLflow's backend does."""

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: object) -> None:
        write_picture(Path(self._save_dir) / name, image)


@VISBACKENDS.register_module()
class Failing(LocalVisBackend):
    def add_image(self, *args: object, **kwargs: object) -> None:
        raise OSError("no connection")


@pytest.mark.usefixtures("fresh_runs")
@pytest.mark.parametrize("backend", ["ByName", "Failing"])
def test_pictures_of_twelve_bands_suit_every_backend_and_end_no_training(
    backend: str, tiny_config: Path, tmp_path: Path
) -> None:
    """Bands of floating-point numbers, which OpenCV reads from no file."""
    bands = np.random.default_rng(0).random((40, 50, 12), dtype=np.float32)
    np.save(tmp_path / "a.npy", bands)
    cfg = Config.fromfile(tiny_config)
    cfg.work_dir = str(tmp_path / "work")
    cfg.model.backbone.in_channels = 12
    cfg.model.data_preprocessor.update(mean=None, std=None)
    cfg.val_dataloader.dataset = dict(
        type="BaseSegDataset",
        data_root=str(tmp_path),
        img_suffix=".npy",
        metainfo=dict(classes=list("abcdef")),
        test_mode=True,
        pipeline=[dict(type="LoadImageFromNpyFile"), dict(type="PackSegInputs")],
    )
    cfg.val_evaluator = dict(type="IoUMetric", format_only=True, output_dir=str(tmp_path / "out"))
    cfg.visualizer.vis_backends = [dict(type=backend, save_dir=str(tmp_path / "vis"))]
    cfg.custom_hooks = [dict(type="PointVisualizationHook", interval=1)]
    runner = Runner.from_cfg(cfg)
    runner.val()
    pictures = list(tmp_path.rglob("points_a.png"))
    if backend == "ByName":
        assert read_image(pictures[0]).std() > 0
        return
    assert not pictures
    (log,) = (tmp_path / "work").rglob("*.log")
    assert f"No picture of the points of {tmp_path / 'a.npy'}: no connection" in log.read_text()
