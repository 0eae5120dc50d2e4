"""A trained model in PyTorch, from pixels to labels."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample

from ..checkpoints.fitting import load_weights
from ..checkpoints.reading import checkpoints_as_data
from ..config import misspelled_names
from ..engine.alignment import warn_once_if_misaligned
from ..engine.precision import set_type_and_layout
from ..errors import InputError
from ..segmentors import use_label_segmentor
from ..visualization.explanation import Explanation, explain
from .image_pipeline import ImagePipeline, tested_dataset
from .images import Segmentation


class TorchModel:
    """A trained model and the pipeline that prepares its images.

    Takes the arguments of ``PointRendInferencer``, the config read and the weights found, and has
    its attributes, those of :class:`ImagePipeline` and its ``load``, whose results are the images
    of its methods. Raises an InputError if the checkpoint cannot be read or does not fit, there is
    no such device, or images do not fit into memory or have other channels than the model takes.
    """

    def __init__(
        self,
        cfg: Config,
        weights: str | Path,
        device: str | None = None,
        dtype: str = "float32",
        channels_last: bool = False,
        allow_partial: bool = False,
        trust: bool = False,
    ) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        init_default_scope(cfg.get("default_scope", "mmseg"))
        with misspelled_names(), checkpoints_as_data(trust):
            self.model = MODELS.build(use_label_segmentor(copy.deepcopy(cfg)).model)
            self._pipeline = pipeline = ImagePipeline(cfg)
        self.suffix, self.is_bgr = pipeline.suffix, pipeline.is_bgr
        self.obstacle, self.load = pipeline.obstacle, pipeline.load
        warn_once_if_misaligned(self.model)
        meta = load_weights(self.model, weights, allow_partial, trust)
        try:
            self.model.to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"Device {self.device!r} cannot be used ({reason}).") from error
        if dtype != "float32" or channels_last:
            set_type_and_layout(self.model, getattr(torch, dtype), channels_last)
        known = _classes_and_palette(meta.get("dataset_meta", {}), tested_dataset(cfg))
        self.classes, self.palette = known

    def segment_batch(self, images: Sequence[dict], logits: bool = False) -> list[Segmentation]:
        """Label every pixel of images of one size; with ``logits`` give these, too."""
        batch = self._prepare(images)
        with torch.no_grad(), self._clear_errors(batch["inputs"]):
            batch = self.model.data_preprocessor(batch, False)
            inputs, samples = batch["inputs"], batch["data_samples"]
            if not logits:
                return [Segmentation(_labels(each)) for each in self.model.predict(inputs, samples)]
            maps = self.model.inference(inputs, [sample.metainfo for sample in samples])
            labels = [_labels(each) for each in self.model.postprocess_result(maps, samples)]
            channels = maps.shape[1]
            if channels == 1:
                # of a single channel it leaves the sigmoid, of two channels what they are
                maps = torch.cat((torch.zeros_like(maps), maps), dim=1)
            found = self.model.postprocess_result(maps, samples)
            resized = [each.seg_logits.data[-channels:].float().cpu().numpy() for each in found]
            return [Segmentation(*both) for both in zip(labels, resized, strict=True)]

    def explain(self, image: dict) -> Explanation:
        """Label an image and tell what the coarse head saw and where the points fell."""
        batch = self._prepare([image])
        with self._clear_errors(batch["inputs"]):
            return explain(self.model, batch)

    def _prepare(self, images: Sequence[dict]) -> dict[str, list]:
        samples = [self._pipeline.prepare(image) for image in images]
        return {key: [sample[key] for sample in samples] for key in samples[0]}

    @contextmanager
    def _clear_errors(self, inputs: Sequence[torch.Tensor]) -> Iterator[None]:
        """One line about inputs that the model does not take, or that do not fit into memory."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            channels, height, width = inputs[0].shape
            # what PyTorch raises on CPUs has no type of its own
            no_memory = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
            if no_memory or "DefaultCPUAllocator" in str(error):
                many = f"{len(inputs)} images" if len(inputs) > 1 else "an image"
                raise InputError(
                    f"not enough memory for {many} of {width}x{height} pixels; predict smaller "
                    "batches, or in tiles (tools/predict.py --tile)."
                ) from error
            kernels = (weight for weight in self.model.backbone.parameters() if weight.ndim == 4)
            expected = next(kernels).shape[1]
            if channels != expected:
                raise InputError(
                    f"Images must have the model's {expected} channels, got {channels}; check how "
                    "test_dataloader.dataset.pipeline loads them."
                ) from error
            raise


def _labels(sample: SegDataSample) -> np.ndarray:
    return sample.pred_sem_seg.data.squeeze(0).long().cpu().numpy()


def _classes_and_palette(
    dataset_meta: dict, dataset_cfg: dict
) -> tuple[tuple[str, ...], list[list[int]]]:
    """Names and RGB colors of the classes, from the checkpoint if it has them, else the config."""
    known = {**DATASETS.get(dataset_cfg.type).METAINFO, **dataset_cfg.get("metainfo", {})}
    known.update({key.lower(): value for key, value in dataset_meta.items()})
    if not {"classes", "palette"} <= known.keys():
        raise InputError(
            "Neither checkpoint nor config names classes and palette; set "
            "test_dataloader.dataset.metainfo=dict(classes=..., palette=...)."
        )
    return tuple(known["classes"]), [list(color) for color in known["palette"]]
