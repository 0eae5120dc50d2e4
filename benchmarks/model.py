"""From images to labels: whole models."""

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn

from benchmarks import mmseg_cascade as mmseg
from benchmarks.measure import Measurement, compare
from mmseg_pointrend.checkpoints.fitting import load_weights
from mmseg_pointrend.datasets.drawing import render_shapes
from mmseg_pointrend.engine.precision import set_type_and_layout
from mmseg_pointrend.inference.images import read_image
from mmseg_pointrend.inference.inputs import find_images
from mmseg_pointrend.points import stride16_cells
from mmseg_pointrend.rendering.subdivision import Subdivision


@torch.no_grad()
def benchmark_model(
    cfg: Config,
    weights: str | None = None,
    size: tuple[int, int] = (1024, 2048),
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    against: Sequence[str] = ("mmseg", "dense"),
    images: str | None = None,
    rounds: int = 5,
) -> dict[str, Measurement]:
    """Measure the prediction of a whole image.

    Args:
        cfg (Config): Config of a model with a :class:`PointRendHead`; changed in place.
        weights (str, optional): Checkpoint of the model. Defaults to None: random weights.
        size (tuple[int, int]): (H, W) of the image. Defaults to (1024, 2048).
        device (str): Where to run. Defaults to 'cpu'.
        dtype (torch.dtype): Type of our side; the others are float32. Defaults to float32.
        channels_last (bool): Whether our side computes in channels_last. Defaults to False.
        against (Sequence[str]): Other sides with the same weights: 'mmseg',
            ``CascadeEncoderDecoder`` with a ``PointHead``; 'dense', our model in an
            ``EncoderDecoder``. Defaults to both.
        images (str, optional): Images, brought to ``size``. The first is timed, all are compared.
            Defaults to None: one of drawn shapes.
        rounds (int): Timed runs of each side. Defaults to 5.

    Returns:
        dict[str, Measurement]: 'ours' and the other sides, with the share of labels that these have
        in common with ours.
    """
    init_default_scope("mmseg")
    torch.manual_seed(0)
    place = torch.device(device)
    cfg.model.backbone.init_cfg = None
    cfg.model.data_preprocessor.test_cfg = None  # all sides see images of exactly this size
    points, steps = stride16_cells(size), _subdivision_steps(cfg, size)
    cfg.model.decode_head.renderer = dict(
        type="DenseRenderer", subdivision_steps=steps, subdivision_num_points=points
    )
    dense = MODELS.build({**cfg.model, "type": "EncoderDecoder"})
    if weights is not None:
        load_weights(dense, weights)
    state = dense.state_dict()

    ours = MODELS.build({**cfg.model, "type": "LabelEncoderDecoder"})
    ours.load_state_dict(state)
    models: dict[str, nn.Module] = {"ours": set_type_and_layout(ours, dtype, channels_last)}
    if "dense" in against:
        models["dense"] = dense
    if "mmseg" in against:
        models["mmseg"] = MODELS.build(mmseg.cascade(cfg.model, points, steps))
        models["mmseg"].load_state_dict(mmseg.cascade_weights(state))
    for model in models.values():
        model.to(place).eval()

    batches = [
        dense.data_preprocessor(as_batch(image, size))["inputs"] for image in _read(images, size)
    ]
    runs = {name: partial(_labels, model, batches[0]) for name, model in models.items()}
    results = compare(runs, place, rounds)
    for name, model in models.items():
        same = [(_labels(ours, x) == _labels(model, x)).float().mean() for x in batches]
        results[name].remarks["labels as ours"] = f"{torch.stack(same).mean():.3%}"
    return results


def _subdivision_steps(cfg: Config, size: tuple[int, int]) -> int:
    """Steps from the model's coarse map to the image."""
    model = MODELS.build({**cfg.model, "type": "EncoderDecoder"}).eval()
    side = 128
    coarse = model.decode_head.coarse_logits(model.extract_feat(torch.zeros(1, 3, side, side)))
    stride = side // coarse.shape[-1]
    return len(Subdivision().sizes([length // stride for length in size], size))


def _read(images: str | None, size: tuple[int, int]) -> list[np.ndarray]:
    if images is None:
        return [render_shapes(0, 0, size)[0]]
    return [read_image(path) for path in sorted(find_images([images]))]


def as_batch(image: np.ndarray, size: tuple[int, int]) -> dict:
    """A batch of an image, brought to ``size`` = (H, W), for a data preprocessor."""
    image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return {"inputs": [torch.from_numpy(image).permute(2, 0, 1)]}


def _labels(model: nn.Module, inputs: Tensor) -> Tensor:
    (sample,) = model.predict(inputs)
    return sample.pred_sem_seg.data
