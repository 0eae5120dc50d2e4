"""One exported model for all tests of this folder."""

import pytest
from exporting import save_weights, small_config

from mmseg_pointrend.export.onnx_file import Exported, export_model


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder, cfg = tmp_path_factory.mktemp("exported"), small_config()
    weights = save_weights(cfg, folder / "weights.pth")
    return export_model(cfg, weights, folder / "model.onnx", logits=True)
