from pathlib import Path

import pytest
import torch
from mmseg.registry import MODELS

from benchmarks.retrofits import coarse_models
from mmseg_pointrend.config import read_config
from mmseg_pointrend.models.coarse_heads import CascadeHead, coarse_output, logit_map

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", coarse_models(""))
def test_models_build_and_run(name: str) -> None:
    if name == "maskformer":
        pytest.importorskip("mmdet.models")
    experiment = coarse_models("")[name]
    cfg = read_config(CONFIGS / experiment.config, experiment.options)
    model = MODELS.build(cfg.model).eval()
    head = CascadeHead([*model.decode_head]) if name == "ocrnet" else model.decode_head
    with torch.no_grad():
        logits = logit_map(coarse_output(head, model.extract_feat(torch.zeros(1, 3, 64, 64))))
    assert logits.shape[1] == 11
