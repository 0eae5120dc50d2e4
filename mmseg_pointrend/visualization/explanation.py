"""How a prediction came about: what the coarse head saw and where the points fell."""

from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..checkpoints.fitting import bare_segmentor
from ..decode_head import PointRendHead, unpadded
from ..errors import InputError
from ..points import cell_coords
from ..rendering import DenseRenderer
from ..rendering.dense import resize


class StepPoints(NamedTuple):
    """Where one step of a rendering placed its points."""

    grid: tuple[int, int]  # (H, W) of the step's grid
    # Points in pixels of the image, (N, 2), float32, the least certain first, without the padding's
    xy: np.ndarray


class Explanation(NamedTuple):
    """A prediction and how it came about."""

    coarse: np.ndarray  # labels, (H, W), int64, as subdivision_steps=0 gives them
    # Those of a rendering of the whole image, also where sliding windows have points of their own
    steps: list[StepPoints]
    labels: np.ndarray  # labels of the rendering, (H, W), int64


@torch.no_grad()
def explain(model: nn.Module, data: dict) -> Explanation:
    """Render the first image of a batch of a test data loader step by step, at its original size.

    The model is an ``EncoderDecoder`` with a :class:`PointRendHead`, in eval mode. Raises an
    InputError if it has another head or renderer, or its weights do not fit.
    """
    model = bare_segmentor(model)
    head = model.decode_head
    teller = head.renderer if isinstance(head, PointRendHead) else head
    if not isinstance(teller, DenseRenderer):
        raise InputError(
            f"A PointRendHead with a DenseRenderer tells its points, a {type(teller).__name__} has "
            "none to show."
        )
    head.check_prediction(model.test_cfg)
    first = {key: values[:1] for key, values in data.items()}
    batch = model.data_preprocessor(first, training=False)
    inputs, samples = batch["inputs"], batch["data_samples"]
    size, align_corners = tuple(inputs.shape[-2:]), model.align_corners

    features = model.extract_feat(inputs)
    fine, coarse = head.fine_features(features), head.coarse_logits(features, size)
    logits, steps = coarse, []
    for logits, index in head.renderer.steps(coarse, fine, head.point_head, size):
        grid = tuple(logits.shape[-2:])
        coords = cell_coords(index[0], grid, align_corners)
        steps.append(StepPoints(grid, _image_points(coords, size, samples[0], align_corners)))
    if model.test_cfg.get("mode", "whole") == "slide":
        # what predicts are the windows; the steps of all of them have no place in one picture
        metas = [sample.metainfo for sample in samples]
        no_steps = DenseRenderer(subdivision_steps=0, align_corners=align_corners)
        with patch.object(head, "renderer", no_steps):
            coarse = model.slide_inference(inputs, metas)
        logits = model.slide_inference(inputs, metas)

    def labels(logits: Tensor) -> np.ndarray:
        (sample,) = model.postprocess_result(resize(logits, size, align_corners), samples)
        return sample.pred_sem_seg.data.squeeze(0).long().cpu().numpy()

    return Explanation(labels(coarse), steps, labels(logits))


def _image_points(
    coords: Tensor, size: tuple[int, int], sample: SegDataSample, align_corners: bool
) -> np.ndarray:
    """Points on the padded network input, in pixels of the original image."""
    window = unpadded(sample.metainfo, size)
    (height, width), (ori_height, ori_width) = sample.img_shape[:2], sample.ori_shape[:2]
    extent = np.array([size[1], size[0]])
    xy = coords.cpu().numpy()
    xy = xy * (extent - 1) + 0.5 if align_corners else xy * extent
    xy = xy - (window.left, window.top)
    xy = xy[((xy >= 0) & (xy <= (width, height))).all(axis=1)]
    return (xy * (ori_width / width, ori_height / height)).astype(np.float32)
