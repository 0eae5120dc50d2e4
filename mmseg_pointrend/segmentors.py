"""Segmentors: one that is asked for labels, one that trains the point head alone."""

from collections.abc import Callable
from functools import partial

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList
from torch import Tensor, nn

from .checkpoints.fitting import find_misfit
from .config import type_name
from .decode_head import PointRendHead
from .errors import InputError

# Dimensions of an (H, W) map that MMCV's RandomFlip reverses.
FLIPPED = {"horizontal": (1,), "vertical": (0,), "diagonal": (0, 1)}


class LabelSample(SegDataSample):
    """A prediction whose logits are computed when somebody reads them.

    Averaging models, as that of test-time augmentation, read ``seg_logits`` of what they get from a
    segmentor, and a segmentor cannot know that one of them is calling.
    """

    def compute_later(self, logits: Callable[[], Tensor]) -> None:
        """Set what computes the logits, (C, H, W).

        It goes along to other devices, but neither to other processes nor to a disk: it holds the
        model.
        """
        # past what registers each attribute as data
        object.__setattr__(self, "_compute_logits", logits)

    @property
    def seg_logits(self) -> PixelData:
        if "_seg_logits" not in self:
            if "_compute_logits" not in self.__dict__:
                raise AttributeError("The logits of this prediction were not computed in time.")
            self.seg_logits = PixelData(data=self._compute_logits())
        return self._seg_logits

    @seg_logits.setter
    def seg_logits(self, value: PixelData) -> None:
        self.set_field(value, "_seg_logits", dtype=PixelData)

    def new(self, **kwargs) -> "LabelSample":
        """A sample with other data, as those on another device, whose logits are still to come."""
        other = super().new(**kwargs)
        if "_compute_logits" in self.__dict__:
            other.compute_later(self._compute_logits)
        return other

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key != "_compute_logits"}


@MODELS.register_module()
class LabelEncoderDecoder(EncoderDecoder):
    """An ``EncoderDecoder`` that predicts labels without ever building full-size logits.

    It takes the arguments and the weights of ``EncoderDecoder``, trains as it does and predicts the
    same ``pred_sem_seg`` at the original size. The work is left to the decode head, which may be
    any that has

        ``predict_labels(inputs, batch_img_metas, test_cfg) -> list[Tensor]``

    with the arguments of ``predict``, for each image's labels, (H, W), int64, at the original size
    and without the padding. :class:`PointRendHead` has it.

    Where logits are needed it predicts as ``EncoderDecoder`` does, and says so once: with
    ``test_cfg.mode='slide'``, with a renderer that gives logits only and, as in test-time
    augmentation, from the first time on that somebody reads a prediction's ``seg_logits``.

    Raises:
        InputError: If the decode head has no ``predict_labels``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not hasattr(self.decode_head, "predict_labels"):
            raise InputError(
                f"LabelEncoderDecoder asks its decode head for labels, and a "
                f"{type(self.decode_head).__name__} has no predict_labels; set "
                "model.type=EncoderDecoder."
            )
        self._predicts_logits = False
        if getattr(self.decode_head, "label_renderer", self) is None:
            renderer = type(self.decode_head.renderer).__name__
            self._predict_logits_from_now_on(f"{renderer} renders logits only")

    def predict(self, inputs: Tensor, data_samples: SampleList | None = None) -> SampleList:
        """Predict the labels of a batch.

        Args:
            inputs (Tensor): Images, (B, C, H, W), of any number of channels.
            data_samples (list[SegDataSample], optional): Their meta information. Defaults to None:
                the images are as large as their originals.

        Returns:
            list[SegDataSample]: Samples with ``pred_sem_seg``, (1, H, W), int64. Their
            ``seg_logits``, (C, H, W), are computed if they are read.
        """
        if self.test_cfg.get("mode", "whole") == "slide":
            self._predict_logits_from_now_on("sliding windows average logits")
        if self._predicts_logits:
            return super().predict(inputs, data_samples)
        if data_samples is None:
            size = tuple(inputs.shape[2:])
            meta = dict(ori_shape=size, img_shape=size, pad_shape=size)
            data_samples = [SegDataSample(metainfo=meta) for _ in inputs]
        metas = [sample.metainfo for sample in data_samples]
        labels = self.decode_head.predict_labels(self.extract_feat(inputs), metas, self.test_cfg)
        predictions = []
        for k, sample in enumerate(data_samples):
            prediction = LabelSample(metainfo=sample.metainfo, **dict(sample.items()))
            prediction.pred_sem_seg = PixelData(data=_unflip(labels[k], sample.metainfo)[None])
            prediction.compute_later(partial(self._late_logits, inputs[k : k + 1], sample))
            predictions.append(prediction)
        return predictions

    def _late_logits(self, inputs: Tensor, sample: SegDataSample) -> Tensor:
        """Logits of an image, (C, H, W), whose labels are predicted already."""
        self._predict_logits_from_now_on("somebody reads seg_logits")
        with torch.no_grad():
            (late,) = self.predict(inputs, [SegDataSample(metainfo=sample.metainfo)])
        return late.seg_logits.data

    def _predict_logits_from_now_on(self, reason: str) -> None:
        if not self._predicts_logits:
            print_log(
                f"LabelEncoderDecoder builds full-size logits, as EncoderDecoder does: {reason}.",
                logger="current",
            )
        self._predicts_logits = True


@MODELS.register_module()
class RetrofitEncoderDecoder(EncoderDecoder):
    """A trained segmentor that learns to sharpen what it sees: only its point head trains.

    Everything else is frozen: in evaluation mode, without gradients, without a loss of its own. So
    a step keeps no activations of the backbone and runs no backward pass through it. What results
    is a PointRend model like any other; ``EncoderDecoder`` runs it as well.

    The weights of the trained model come from ``load_from``; training is refused without them.

    Args:
        backbone (dict): Config of the trained model's backbone.
        decode_head (dict): Config of a :class:`PointRendHead` around the trained model's head.
        neck (dict, optional): Config of the trained model's neck. Defaults to None.
        auxiliary_head (dict | list[dict], optional): Not built, as there is nothing for it to
            learn. Defaults to None.
        pretrained (str, optional): Not read, nor is the backbone's ``init_cfg``, as all weights
            come from the trained model. Defaults to None.
        **kwargs: As of :class:`mmseg.models.EncoderDecoder`.

    Raises:
        InputError: If the decode head is no PointRendHead, or at the first training step if no
            weights were loaded or they do not fit.
    """

    def __init__(
        self,
        backbone: dict,
        decode_head: dict,
        neck: dict | None = None,
        auxiliary_head: dict | list[dict] | None = None,
        pretrained: str | None = None,
        **kwargs,
    ) -> None:
        if "init_cfg" in backbone:
            backbone = {**backbone, "init_cfg": None}
        super().__init__(backbone=backbone, decode_head=decode_head, neck=neck, **kwargs)
        if not isinstance(self.decode_head, PointRendHead):
            raise InputError(
                "RetrofitEncoderDecoder needs a PointRendHead as decode_head, with the trained "
                f"model's {type(self.decode_head).__name__} as its coarse_head."
            )
        self.requires_grad_(False)
        for part in self.trained_parts:
            part.requires_grad_(True)
        self._is_loaded = False
        self.misfit: str | None = None

    @property
    def trained_parts(self) -> list[nn.Module]:
        """list[nn.Module]: The parts that train: the point head, and the image branch if any."""
        parts = [self.decode_head.point_head, self.decode_head.image_branch]
        return [part for part in parts if part is not None]

    def train(self, mode: bool = True) -> "RetrofitEncoderDecoder":
        """Set the mode of the point head; the rest stays in evaluation mode."""
        super().train(mode)
        for part in self.children():
            part.eval()
        for part in self.trained_parts:
            part.train(mode)
        return self

    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of the point head.

        Args:
            inputs (Tensor): Images, (B, C, H, W), of any number of channels.
            data_samples (list[SegDataSample]): Labels, one for each image.

        Returns:
            dict[str, Tensor]: Losses and accuracy at the points, as ``decode.point.*``.

        Raises:
            InputError: If the weights of the trained model were not loaded or do not fit.
        """
        if not self._is_loaded:
            raise InputError(
                "RetrofitEncoderDecoder trains on top of a trained model: set load_from to its "
                "checkpoint."
            )
        if self.misfit is not None:
            raise InputError(self.misfit)
        return super().loss(inputs, data_samples)

    def _load_from_state_dict(self, state_dict: dict, *args, **kwargs) -> None:
        # Whoever loads goes on with half of the weights; training must not.
        self._is_loaded = True
        self.misfit = find_misfit(self, state_dict, fresh_point_head=True)
        super()._load_from_state_dict(state_dict, *args, **kwargs)


def use_label_segmentor(cfg: Config) -> Config:
    """Have a PointRend model predict labels without logits, which nobody is going to read.

    Says so in one line. Models that average logits (``test_cfg.mode='slide'``) and segmentors other
    than ``EncoderDecoder`` and ``RetrofitEncoderDecoder`` stay as they are.

    Args:
        cfg (Config): Config of a model, ``cfg.model``; changed in place: its type becomes
            :class:`LabelEncoderDecoder`.

    Returns:
        Config: ``cfg``.
    """
    model = cfg.model
    kind = type_name(model)
    if (
        kind in ("EncoderDecoder", "RetrofitEncoderDecoder")
        and type_name(model.decode_head) == "PointRendHead"
        and model.get("test_cfg", {}).get("mode", "whole") == "whole"
    ):
        model.type = "LabelEncoderDecoder"
        if kind == "RetrofitEncoderDecoder":
            model.auxiliary_head = None  # which it does not build, nor has weights of
        print_log(
            f"Predicting labels only, with LabelEncoderDecoder in place of {kind}; "
            "tools/test.py --logits keeps it.",
            logger="current",
        )
    return cfg


def _unflip(labels: Tensor, img_meta: dict) -> Tensor:
    """Undo the flip of an image on its (H, W) labels."""
    if not img_meta.get("flip"):
        return labels
    direction = img_meta["flip_direction"]
    if direction not in FLIPPED:
        raise InputError(f"flip_direction must be one of {', '.join(FLIPPED)}, got {direction!r}.")
    return labels.flip(FLIPPED[direction])
