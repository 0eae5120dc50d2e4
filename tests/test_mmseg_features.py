"""What MMSegmentation does with any decode head, done with ours."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config, ConfigDict
from mmseg.apis import MMSegInferencer
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_pointrend.checkpoints.fitting import read_checkpoint
from mmseg_pointrend.inference.inferencer import PointRendInferencer

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


def test_sliding_windows_are_averaged(tiny_model: ModelCfg) -> None:
    cfg = tiny_model()
    whole = MODELS.build(cfg).eval()
    cfg.test_cfg = dict(mode="slide", crop_size=(32, 48), stride=(20, 30))
    sliding = MODELS.build(cfg).eval()
    sliding.load_state_dict(whole.state_dict())
    image = torch.randn(1, 3, 50, 70)
    expected, count = torch.zeros(1, 6, 50, 70), torch.zeros(1, 1, 50, 70)
    with torch.no_grad():
        logits = sliding.inference(image, [dict(img_shape=(50, 70), ori_shape=(50, 70))])
        for top, left in product((0, 18), (0, 22)):
            window = (..., slice(top, top + 32), slice(left, left + 48))
            crop = image[window]
            expected[window] += whole.encode_decode(crop, [dict(img_shape=crop.shape[-2:])])
            count[window] += 1
    torch.testing.assert_close(logits, expected / count, rtol=0, atol=1e-5)


def test_flips_of_sliding_windows_are_averaged(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    cfg = tiny_model()
    cfg.test_cfg = dict(mode="slide", crop_size=(32, 48), stride=(20, 30))
    cfg.data_preprocessor.pop("size")
    model = MODELS.build(dict(type="SegTTAModel", module=cfg)).eval()
    labels = torch.zeros(1, 50, 70, dtype=torch.int64)
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    inputs = [[image], [image.flip(-1)]]

    def samples() -> list[list[SegDataSample]]:
        return [
            make_samples(labels, flip=False, flip_direction=None, img_path="x.png"),
            make_samples(labels, flip=True, flip_direction="horizontal"),
        ]

    with torch.no_grad():
        (result,) = model.test_step(dict(inputs=inputs, data_samples=samples()))
        views = [
            model.module.test_step(dict(inputs=image, data_samples=sample))[0].seg_logits.data
            for image, sample in zip(inputs, samples(), strict=True)
        ]
    assert not torch.equal(*views)
    expected = sum(view.softmax(dim=0) for view in views).argmax(dim=0, keepdim=True)
    assert (result.pred_sem_seg.data != expected).sum() <= 1  # but for a tie in rounding


@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_mmseg_inferencer_gives_the_labels_of_ours(
    checkpoint: Path, tiny_config: Path, image: np.ndarray, mode: str
) -> None:
    cfg = Config.fromfile(tiny_config)
    cfg.model.test_cfg = dict(mode=mode, crop_size=(32, 32), stride=(24, 24))
    result = MMSegInferencer(cfg, str(checkpoint), device="cpu")(image, return_datasamples=True)
    ours = PointRendInferencer(cfg, checkpoint, device="cpu").segment(image)
    np.testing.assert_array_equal(result.pred_sem_seg.data[0].numpy(), ours)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="mixed precision in float16 needs a GPU")
def test_mixed_precision_on_a_gpu(
    run_tool: Callable[..., None], tiny_config: Path, tmp_path: Path
) -> None:
    run_tool("train", tiny_config, "--amp", "--work-dir", tmp_path / "out")
    saved = read_checkpoint(tmp_path / "out" / "iter_2.pth")
    assert "loss_scaler" in saved["optimizer"]
    weights = saved["state_dict"].values()
    assert all(weight.dtype in (torch.float32, torch.int64) for weight in weights)
    assert all(weight.isfinite().all() for weight in weights)
