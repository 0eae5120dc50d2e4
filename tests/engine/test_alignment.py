import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS

from mmseg_pointrend.engine import alignment
from mmseg_pointrend.engine.alignment import stride_of, warn_once_if_misaligned


@pytest.mark.parametrize("stride", [1, 4, 14, 16, 32])
@pytest.mark.parametrize("size", [(360, 480), (224, 448), (97, 353)])
def test_finds_the_stride_of_a_map(size: tuple[int, int], stride: int) -> None:
    map_size = tuple(-(-length // stride) for length in size)
    found = stride_of(size, map_size)
    assert tuple(-(-length // found) for length in size) == map_size
    if stride != 14:
        assert found == stride


def test_a_map_of_no_stride_has_the_nearest() -> None:
    assert stride_of((64, 64), (7, 30)) == 2


@pytest.mark.parametrize(("size", "warnings"), [((64, 96), 0), ((60, 96), 1)])
def test_warns_once(
    size: tuple[int, int], warnings: int, tiny_model: ConfigDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    monkeypatch.setattr(alignment, "print_log", lambda text, **_: said.append(text))
    model = MODELS.build(tiny_model()).eval()
    warn_once_if_misaligned(model)
    for _ in range(2):
        model.extract_feat(torch.zeros(1, 3, *size))
    assert len(said) == warnings
    if warnings:
        assert "96x60 pixels" in said[0]
        assert "size_divisor=32" in said[0]
