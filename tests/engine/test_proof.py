"""A small model of each kind of head, its retrofit written and proved."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmseg.models import FCNHead
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_pointrend.engine.coarse_model import read_coarse_model
from mmseg_pointrend.engine.retrofit import Retrofit, write_config
from mmseg_pointrend.errors import InputError

ModelCfg = Callable[..., ConfigDict]

CE = dict(type="CrossEntropyLoss")
ON_LAST = dict(in_channels=8, in_index=3, channels=8, num_classes=6, norm_cfg=dict(type="BN"))
FCN = dict(type="FCNHead", num_convs=1, concat_input=False, loss_decode=CE, **ON_LAST)
ONE_MAP_FCN = dict(FCN, type="OneMapHead", in_index=-1, input_transform=None)
OHEM = dict(type="OHEMPixelSampler", thresh=0.7, min_kept=100)
KNET_UPDATE = dict(
    type="KernelUpdateHead",
    num_classes=6,
    num_ffn_fcs=2,
    num_heads=2,
    num_mask_fcs=1,
    feedforward_channels=8,
    in_channels=8,
    out_channels=8,
    kernel_updator_cfg=dict(
        type="KernelUpdator",
        in_channels=8,
        feat_channels=8,
        out_channels=8,
        act_cfg=dict(type="ReLU"),
        norm_cfg=dict(type="LN"),
    ),
)
HEADS = {
    "plain": FCN,
    "tuple": dict(type="EncHead", num_codes=4, use_se_loss=True, add_lateral=False, **ON_LAST)
    | dict(in_channels=[8, 8], in_index=[2, 3]),
    "list in training": dict(
        type="IterativeDecodeHead",
        num_stages=2,
        kernel_update_head=[KNET_UPDATE, KNET_UPDATE],
        kernel_generate_head=FCN,
    ),
    "cascade": [FCN, dict(type="OCRHead", ocr_channels=8, loss_decode=CE, **ON_LAST)],
    "OHEM": dict(FCN, sampler=OHEM, loss_decode=[dict(type="OhemCrossEntropy"), CE]),
    "boundary loss": dict(FCN, loss_decode=[dict(type="BoundaryLoss"), CE]),
    "one channel": dict(FCN, num_classes=2, out_channels=1)
    | dict(threshold=0.4, loss_decode=dict(CE, use_sigmoid=True)),
    "align corners": dict(FCN, align_corners=True),
    "mask classification": dict(
        type="MaskFormerHead",
        in_channels=[8, 8, 8, 8],
        feat_channels=8,
        out_channels=8,
        num_classes=6,
        num_queries=5,
        pixel_decoder=dict(type="mmdet.PixelDecoder", norm_cfg=dict(type="GN", num_groups=2)),
        positional_encoding=dict(num_feats=4, normalize=True),
        transformer_decoder=dict(
            return_intermediate=True,
            num_layers=1,
            layer_cfg=dict(
                self_attn_cfg=dict(embed_dims=8, num_heads=2, batch_first=True),
                cross_attn_cfg=dict(embed_dims=8, num_heads=2, batch_first=True),
                ffn_cfg=dict(embed_dims=8, feedforward_channels=8, num_fcs=2),
            ),
        ),
        loss_cls=dict(type="mmdet.CrossEntropyLoss", class_weight=[1.0] * 6 + [0.1]),
        loss_mask=dict(type="mmdet.FocalLoss", use_sigmoid=True),
        loss_dice=dict(type="mmdet.DiceLoss", use_sigmoid=True, activate=True),
    ),
}
VIT = dict(
    type="VisionTransformer",
    img_size=64,
    embed_dims=16,
    num_layers=4,
    num_heads=2,
    mlp_ratio=1,
    out_indices=(0, 1, 2, 3),
    output_cls_token=True,
)
DPT = dict(
    type="DPTHead",
    in_channels=[16] * 4,
    in_index=[0, 1, 2, 3],
    input_transform="multiple_select",
    channels=8,
    embed_dims=16,
    post_process_channels=[4, 4, 4, 4],
    num_classes=6,
    readout_type="project",
)


@MODELS.register_module()
class OneMapBackbone(nn.Conv2d):
    """A backbone of one map, as DDRNet, and of one size of images."""

    def __init__(self, stride: int) -> None:
        super().__init__(3, 8, stride, stride=stride)

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[-1] == 64
        return super().forward(images)


@MODELS.register_module()
class OneMapHead(FCNHead):
    def _transform_inputs(self, inputs: Tensor) -> Tensor:
        return inputs


@MODELS.register_module()
class OtherPrediction(FCNHead):
    """A head that does not predict what its logits say."""

    def predict(self, *args, **kwargs) -> Tensor:
        return -super().predict(*args, **kwargs)


def write(model: dict, tmp_path: Path, **options: object) -> tuple[Retrofit, ConfigDict]:
    """Write the retrofit of a model with random weights; returns its model, too."""
    path, target = tmp_path / "my.py", tmp_path / "new.py"
    path.write_text(f"model = {model}\n")
    written = write_config(read_coarse_model(path), "my.pth", target, **options)
    return written, Config.fromfile(target).model


def on_four_levels(tiny_model: ModelCfg, head: dict | list) -> dict:
    model = tiny_model().to_dict()
    if isinstance(head, list):
        model.update(type="CascadeEncoderDecoder", num_stages=len(head))
    return {**model, "decode_head": head, "auxiliary_head": dict(FCN, in_index=2)}


def on_one_backbone(backbone: dict, head: dict) -> dict:
    return dict(
        type="EncoderDecoder",
        data_preprocessor=dict(type="SegDataPreProcessor", size=(64, 64)),
        backbone=backbone,
        decode_head=head,
        test_cfg=dict(mode="whole"),
    )


@pytest.mark.parametrize("kind", HEADS)
def test_every_kind_of_head(
    kind: str, tiny_model: ModelCfg, tmp_path: Path, make_samples: Callable
) -> None:
    """A step is trained, an image is predicted, and labels at 0 steps are those of the model."""
    if kind == "mask classification":
        pytest.importorskip("mmdet.models")
    written, cfg = write(on_four_levels(tiny_model, HEADS[kind]), tmp_path)
    assert [level.stride for level in written.chosen] == [4, 8, 16]
    assert not written.reads_image
    assert cfg.get("auxiliary_head") is None
    whole = MODELS.build(dict(cfg, type="EncoderDecoder"))  # all of it trains on
    step = torch.randn(2, 3, 64, 64), make_samples(torch.randint(0, 2, (2, 64, 64)))
    if kind == "mask classification":
        with pytest.raises(InputError, match="MaskFormerHead trains on other maps"):
            whole.loss(*step)
        return
    assert written.differing == 0
    if kind not in ("OHEM", "boundary loss"):  # these losses are taken by a PIDHead only
        assert any("coarse" in name for name in whole.loss(*step))


@pytest.mark.parametrize("stride", [4, 16])
def test_a_single_map_and_a_fixed_size(stride: int, tmp_path: Path) -> None:
    backbone = dict(type="OneMapBackbone", stride=stride)
    written, model = write(on_one_backbone(backbone, ONE_MAP_FCN), tmp_path)
    assert written.levels == written.chosen == [(-1, 8, stride)]
    assert written.differing == 0
    assert written.reads_image == (stride == 16)
    if written.reads_image:
        assert (model.backbone.type, model.backbone.of) == ("WithImage", "OneMapBackbone")
        assert model.decode_head.point_features.neighborhood == [3, 3, 1]


def test_levels_of_maps_and_class_tokens(tmp_path: Path) -> None:
    written, _ = write(on_one_backbone(VIT, DPT), tmp_path)
    assert (written.chosen, written.reads_image) == ([(0, 16, 16)], True)
    assert written.differing == 0


def test_a_mismatch_is_told_before_anything_is_written(
    tiny_model: ModelCfg, tmp_path: Path
) -> None:
    model = on_four_levels(tiny_model, dict(FCN, type="OtherPrediction"))
    with pytest.raises(InputError, match=r"without subdivision steps gives .* % of the labels"):
        write(model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["my.py"]
    written, _ = write(model, tmp_path, check=False)
    assert written.differing is None


def test_a_model_whose_points_cannot_train_is_refused(tiny_model: ModelCfg, tmp_path: Path) -> None:
    loss = dict(CE, class_weight=[1.0] * 5)
    with pytest.raises(InputError, match=r"my\.py: the PointRend model of its retrofit|5"):
        write(on_four_levels(tiny_model, dict(FCN, loss_decode=loss)), tmp_path)
