"""Types and layouts: the same labels, sooner."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_pointrend.engine.precision import fold_batch_norms, set_type_and_layout

ModelCfg = Callable[..., ConfigDict]

CONFIGS = Path(__file__).parents[2] / "configs"
# with a DeepLabV3, an HRNet, a U-Net, a CGNet, transformers, ...
MODELS_OF_ALL_KINDS = sorted(CONFIGS.glob("_base_/models/*.py"))


def trained(cfg: dict) -> nn.Module:
    """A model whose batch norms do something, and whose labels are of all kinds."""
    model = MODELS.build({**cfg, "backbone": {**cfg["backbone"], "init_cfg": None}}).eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.requires_grad_(False)


def batch_norms(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


@pytest.mark.parametrize("path", MODELS_OF_ALL_KINDS, ids=lambda path: path.stem)
def test_folding_leaves_the_features_as_they_are(path: Path) -> None:
    backbone = Config.fromfile(path).model.backbone
    model = trained(dict(type="EncoderDecoder", backbone=backbone, decode_head=FCN)).double()
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    expected, before = model.backbone(image), batch_norms(model)
    fold_batch_norms(model)
    if backbone.type in ("ResNetV1c", "HRNet", "UNet"):
        assert batch_norms(model.backbone) < before / 2
    for actual, feature in zip(model.backbone(image), expected, strict=True):
        torch.testing.assert_close(actual, feature)


FCN = dict(
    type="FCNHead", in_channels=8, channels=8, num_classes=6, norm_cfg=dict(type="BN"), in_index=0
)


@pytest.mark.parametrize("kind", ["EncoderDecoder", "LabelEncoderDecoder"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_type_and_layout(
    tiny_model: ModelCfg, channels_last: bool, dtype: torch.dtype, kind: str
) -> None:
    model = trained(ConfigDict(tiny_model(), type=kind))
    for parameter in model.decode_head.parameters():
        parameter.copy_(0.3 * torch.randn_like(parameter))
    inputs = torch.randn(1, 3, 64, 96)

    def labels() -> Tensor:
        return model.predict(inputs)[0].pred_sem_seg.data

    expected = labels()
    features: list[Tensor] = []
    set_type_and_layout(model, dtype, channels_last)
    model.neck.register_forward_hook(lambda *args: features.append(args[2][0]))
    actual = labels()
    assert features[0].dtype == dtype
    if channels_last:
        assert features[0].is_contiguous(memory_format=torch.channels_last)
    assert (actual == expected).float().mean() > (0.999 if dtype == torch.float32 else 0.9)


def test_norms_that_are_left_keep_their_statistics_in_float32(tiny_model: ModelCfg) -> None:
    model = trained(tiny_model())
    model.extra = nn.BatchNorm2d(4)
    set_type_and_layout(model, torch.bfloat16)
    assert model.extra.running_var.dtype == torch.float32
    assert model.decode_head.point_head.fc_seg.weight.dtype == torch.bfloat16


def test_transposed_convolutions_keep_their_norms() -> None:
    model = nn.Sequential(nn.ConvTranspose2d(3, 3, 2, stride=2), nn.BatchNorm2d(3)).eval()
    nn.init.uniform_(model[1].running_var, 0.5, 1.5)
    image = torch.randn(1, 3, 8, 8)
    expected = model(image)
    torch.testing.assert_close(fold_batch_norms(model)(image), expected)


def test_images_are_normalized_in_float32(tiny_model: ModelCfg) -> None:
    cfg = tiny_model()
    cfg.data_preprocessor.update(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    model = set_type_and_layout(trained(cfg), torch.bfloat16)
    expected = torch.tensor([123.675, 116.28, 103.53])
    assert torch.equal(model.data_preprocessor.mean.flatten(), expected)
