"""One exported model for all tests of this folder."""

import pytest
from exporting import save_weights, small_config
from mmengine.config import Config

from mmseg_pointrend.export import Exported, export_model


@pytest.fixture(scope="session")
def export_config() -> Config:
    return small_config()


@pytest.fixture(scope="session")
def exported(export_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    weights = save_weights(export_config, folder / "weights.pth")
    return export_model(export_config, weights, folder / "model.onnx", logits=True)
