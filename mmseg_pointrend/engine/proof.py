"""Proof of a retrofit: one training step and one prediction of the model that its config builds."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..errors import InputError
from ..models.coarse_heads import classifies_masks
from ..rendering.subdivision import Subdivision
from .coarse_model import CoarseModel, failing


def prove(config: Path, coarse: CoarseModel) -> float:
    """Try what a retrofit's config builds on top of a trained model with its weights.

    The model trains a step on a random crop and predicts a random image, of odd size unless the
    trained model takes crops alone. Without subdivision steps it has to predict what the trained
    model does, whose test images are padded like its own from here on. An InputError says what of
    this fails.

    Returns the share of the labels that differ from the trained model's without subdivision steps,
    not 0 with heads that classify masks, as MMSegmentation upsamples masks, not logits.
    """
    name, model = f"{coarse.path}: the PointRend model of its retrofit", coarse.network
    with failing(f"{name} cannot be built"):
        retrofit = MODELS.build(Config.fromfile(config).model)
    retrofit.load_state_dict(model.state_dict(), strict=False)
    retrofit.decode_head.point_head.init_weights()
    generator = torch.Generator().manual_seed(0)
    with failing(f"{name} does not train"):
        _train_step(retrofit, coarse, generator)
    model.data_preprocessor = retrofit.data_preprocessor
    height, width = coarse.crop_size
    image = _random_image((coarse.in_channels, height + 5, width + 11), generator)
    try:
        expected = _predict(model, image)
    except Exception:  # whatever a model makes of an image that it was not made for
        image = image[:, :height, :width]
        with failing(f"{coarse.path}: the model does not predict an image as large as its crops"):
            expected = _predict(model, image)
    with failing(f"{name} does not predict"):
        _predict(retrofit, image)
        retrofit.decode_head.renderer.subdivision = Subdivision(steps=0)
        found = _predict(retrofit, image)
    share = (found != expected).float().mean().item()
    # A few may differ, where logits of two runs are rounded differently.
    if share > 1e-3 and not classifies_masks(retrofit.decode_head.coarse_head):
        raise InputError(
            f"{name} without subdivision steps gives {100 * share:.2f} % of the labels unlike the "
            "model; its head predicts in another way than its logits say. --no-check writes the "
            "config all the same."
        )
    return share


def _train_step(retrofit: nn.Module, coarse: CoarseModel, generator: torch.Generator) -> None:
    image = _random_image((coarse.in_channels, *coarse.crop_size), generator)
    labels = torch.randint(retrofit.num_classes, (1, *coarse.crop_size), generator=generator)
    data = _batch(image)
    data["data_samples"][0].gt_sem_seg = PixelData(data=labels)
    data = retrofit.train().data_preprocessor(data, True)
    loss, _ = retrofit.parse_losses(retrofit(**data, mode="loss"))
    if not loss.isfinite():
        raise InputError(f"loss of the point head must be finite, got {loss.item()}.")
    loss.backward()
    retrofit.zero_grad()


@torch.no_grad()
def _predict(model: nn.Module, image: Tensor) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # SegNeXt's head starts from random numbers in prediction too
        (result,) = model.eval().test_step(_batch(image))
    return result.pred_sem_seg.data


def _batch(image: Tensor) -> dict[str, list]:
    size = tuple(image.shape[-2:])
    meta = dict(ori_shape=size, img_shape=size, pad_shape=size)
    return dict(inputs=[image], data_samples=[SegDataSample(metainfo=meta)])


def _random_image(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)
