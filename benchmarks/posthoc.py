"""What people take instead of PointRend: a guided filter and a DenseCRF on the coarse logits.

    python -m benchmarks.posthoc CONFIG CHECKPOINT [--every N]

Parameters are tuned on 20 training images, by mBIoU, and the best of each method is scored on the
validation images. The DenseCRF is pydensecrf's (``pip install pydensecrf2``), which is left out
where it is not installed.
"""

import argparse
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmseg.registry import DATASETS
from torch import Tensor

from mmseg_pointrend import BoundaryIoUMetric, PointRendInferencer
from mmseg_pointrend.errors import one_line_errors

# (H, W, 3) BGR image and (C, H, W) probabilities -> (H, W) labels
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]
TUNED_ON = 20
GUIDED = dict(radius=(4, 8, 16), epsilon=(1e-4, 1e-3))
CRF = dict(spatial=(30, 50), color=(5, 8), weight=(4, 10))


def guided_filter(
    image: np.ndarray, probabilities: np.ndarray, radius: int, epsilon: float
) -> np.ndarray:
    """Labels of probabilities that a gray guided filter has smoothed (He et al., ECCV 2010)."""
    guide = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    guide_mean = mean(guide)
    variance = mean(guide * guide) - guide_mean**2
    smoothed = []
    for values in probabilities:
        values_mean = mean(values)
        slope = (mean(guide * values) - guide_mean * values_mean) / (variance + epsilon)
        smoothed.append(mean(slope) * guide + mean(values_mean - slope * guide_mean))
    return np.argmax(smoothed, axis=0)


def dense_crf(
    image: np.ndarray, probabilities: np.ndarray, spatial: float, color: float, weight: float
) -> np.ndarray:
    """Labels of a fully connected CRF after five steps (Krähenbühl and Koltun, NIPS 2011)."""
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    classes, height, width = probabilities.shape
    crf = DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(probabilities)))
    crf.addPairwiseGaussian(sxy=1.5, compat=3)
    rgb = np.ascontiguousarray(image[..., ::-1])
    crf.addPairwiseBilateral(sxy=spatial, srgb=color, rgbim=rgb, compat=weight)
    return np.array(crf.inference(5)).argmax(axis=0).reshape(height, width)


class Scenes:
    """Images of a data set with their truth and the probabilities that a model gives.

    Args:
        inferencer (PointRendInferencer): The coarse model.
        dataset (dict): Config of the data set.
        indices (slice): Which of its images.
    """

    def __init__(self, inferencer: PointRendInferencer, dataset: dict, indices: slice) -> None:
        self.classes = inferencer.classes
        self.scenes = [*_predict(inferencer, dataset, indices)]

    def score(self, method: Method) -> dict[str, float]:
        """Scores of a method, see :func:`score`."""
        labels = (
            (torch.from_numpy(np.ascontiguousarray(method(image, probabilities))).long(), truth)
            for image, truth, probabilities in self.scenes
        )
        return score(labels, self.classes)


def score(pairs: Iterable[tuple[Tensor, Tensor]], classes: Sequence[str]) -> dict[str, float]:
    """mIoU, mBIoU and the IoU in bands of 1 and 2 pixels, in percent.

    Args:
        pairs (Iterable[tuple[Tensor, Tensor]]): Labels and truth of each image, (H, W), int64.
        classes (Sequence[str]): Names of the classes.
    """
    metric = BoundaryIoUMetric(trimap_widths=(1, 2))
    metric.dataset_meta = dict(classes=classes)
    confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    for labels, truth in pairs:
        sample = dict(
            pred_sem_seg=dict(data=labels.unsqueeze(0)), gt_sem_seg=dict(data=truth.unsqueeze(0))
        )
        metric.process({}, [sample])
        scored = truth != metric.ignore_index
        pairs_of_labels = truth[scored] * len(classes) + labels[scored]
        counts = torch.bincount(pairs_of_labels, minlength=confusion.numel())
        confusion += counts.view_as(confusion)
    union = confusion.sum(0) + confusion.sum(1) - confusion.diag()
    iou = 100 * (confusion.diag() / union).nanmean().item()
    return {"mIoU": iou, **metric.evaluate(len(metric.results))}


def _predict(
    inferencer: PointRendInferencer, config: dict, indices: slice
) -> Iterator[tuple[np.ndarray, Tensor, np.ndarray]]:
    pipeline = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
    dataset = DATASETS.build(
        {**config, "pipeline": [*pipeline, dict(type="PackSegInputs")], "lazy_init": False}
    )
    for index in range(len(dataset))[indices]:
        sample = dataset[index]
        image = np.ascontiguousarray(sample["inputs"].permute(1, 2, 0).numpy())
        (result,) = inferencer.segment_batch([image], logits=True)
        probabilities = torch.from_numpy(result.logits).softmax(dim=0).numpy()
        yield image, sample["data_samples"].gt_sem_seg.data.squeeze(0).long(), probabilities


def _tune(method: Callable[..., np.ndarray], grid: dict, scenes: Scenes) -> dict:
    """The parameters of a grid that give the best mBIoU."""

    def score(parameters: dict) -> float:
        return scenes.score(lambda *scene: method(*scene, **parameters))["mBIoU"]

    combinations = itertools.product(*grid.values())
    return max((dict(zip(grid, values, strict=True)) for values in combinations), key=score)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config", type=Path, help="config of a coarse model")
    parser.add_argument("checkpoint", help="its checkpoint")
    parser.add_argument("--every", type=int, default=1, help="score every N-th validation image")
    args = parser.parse_args()
    with one_line_errors():
        cfg = Config.fromfile(args.config)
        inferencer = PointRendInferencer(cfg, args.checkpoint)
        train = cfg.train_dataloader.dataset
        count = len(DATASETS.build({**train, "pipeline": []}))
        few = Scenes(inferencer, train, slice(0, None, max(1, count // TUNED_ON)))
        val = Scenes(inferencer, cfg.val_dataloader.dataset, slice(0, None, args.every))
        print("coarse", val.score(lambda _, probabilities: probabilities.argmax(axis=0)))
        for method, grid in ((guided_filter, GUIDED), (dense_crf, CRF)):
            try:
                best = _tune(method, grid, few)
            except ImportError as error:
                print(f"{method.__name__}: left out, {error.name} is not installed")
                continue
            scores = val.score(lambda *scene, m=method, b=best: m(*scene, **b))
            print(method.__name__, best, {name: round(value, 2) for name, value in scores.items()})


if __name__ == "__main__":
    main()
