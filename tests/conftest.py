"""What all tests share."""

import pytest
import torch
from mmengine.registry import init_default_scope

import mmseg_pointrend  # noqa: F401


@pytest.fixture(autouse=True)
def _mmseg_scope() -> None:
    """Build from MMSegmentation's registries, whatever an earlier test made the default."""
    init_default_scope("mmseg")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
