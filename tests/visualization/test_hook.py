from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_pointrend import PointVisualizationHook
from mmseg_pointrend.errors import InputError
from mmseg_pointrend.inference.images import read_image


@pytest.mark.parametrize("interval", [0, -1, 0.5])
def test_intervals_are_whole_numbers(interval: float) -> None:
    with pytest.raises(InputError, match="at least 1"):
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
