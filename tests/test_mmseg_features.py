"""What MMSegmentation does with any decode head, done with ours."""

from collections.abc import Callable

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

ModelCfg = Callable[..., ConfigDict]
MakeSamples = Callable[..., list[SegDataSample]]

AUXILIARY = dict(
    type="FCNHead",
    in_channels=8,
    in_index=2,
    channels=8,
    num_convs=1,
    num_classes=6,
    norm_cfg=dict(type="BN"),
    loss_decode=dict(type="CrossEntropyLoss", loss_weight=0.4),
)


@pytest.mark.parametrize("auxiliary", [AUXILIARY, [AUXILIARY, dict(AUXILIARY, in_index=3)]])
def test_auxiliary_heads_train_beside_it(
    tiny_model: ModelCfg, make_samples: MakeSamples, auxiliary: dict | list
) -> None:
    cfg = tiny_model()
    cfg.auxiliary_head = auxiliary
    model = MODELS.build(cfg)
    samples = make_samples(torch.randint(0, 6, (2, 64, 64)))
    losses = model.train().loss(torch.randn(2, 3, 64, 64), samples)
    names = {name.split(".")[0] for name in losses}
    assert names == {"decode", *(["aux"] if isinstance(auxiliary, dict) else ["aux_0", "aux_1"])}
    total, _ = model.parse_losses(losses)
    total.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_flops_can_be_counted(tiny_model: ModelCfg) -> None:
    # as MMSegmentation's tools/analysis_tools/get_flops.py does, by a forward in mode='tensor'
    model = MODELS.build(tiny_model()).eval()
    info = get_model_complexity_info(model, (3, 64, 96), show_table=False, show_arch=False)
    assert info["flops"] > 0
    assert info["params"] == sum(p.numel() for p in model.parameters())


def test_tensor_mode_gives_logits_of_the_image_size(tiny_model: ModelCfg) -> None:
    model = MODELS.build(tiny_model()).eval()
    with torch.no_grad():
        assert model(torch.randn(2, 3, 64, 96), mode="tensor").shape == (2, 6, 64, 96)


def test_sliding_windows_and_flips_are_averaged(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    cfg = tiny_model()
    cfg.test_cfg = dict(mode="slide", crop_size=(32, 48), stride=(20, 30))
    cfg.data_preprocessor.pop("size")
    model = MODELS.build(dict(type="SegTTAModel", module=cfg)).eval()
    labels = torch.zeros(1, 50, 70, dtype=torch.int64)
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    views = dict(
        inputs=[[image], [image.flip(-1)]],
        data_samples=[
            make_samples(labels, flip=False, flip_direction=None, img_path="x.png"),
            make_samples(labels, flip=True, flip_direction="horizontal"),
        ],
    )
    with torch.no_grad():
        (result,) = model.test_step(views)
    assert result.pred_sem_seg.data.shape == (1, 50, 70)
