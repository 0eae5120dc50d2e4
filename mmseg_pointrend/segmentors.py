"""Segmentors: one that is asked for labels, one that trains the point head alone."""

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


@MODELS.register_module()
class LabelEncoderDecoder(EncoderDecoder):
    """An ``EncoderDecoder`` that predicts labels without ever building full-size logits.

    It takes the arguments and weights of ``EncoderDecoder``, trains as it does and predicts the
    same ``pred_sem_seg``. The work is left to the decode head, which may be any that has

        ``predict_labels(inputs, batch_img_metas, test_cfg) -> list[Tensor]``

    with the arguments of ``predict``, for each image's labels, (H, W), int64, at the original size
    and without the padding. :class:`PointRendHead` has it.

    Predictions have no ``seg_logits``; what averages these, such as test-time augmentation, needs
    ``EncoderDecoder``. With ``test_cfg.mode='slide'`` and with a renderer that gives logits only it
    predicts as ``EncoderDecoder``, and says so. Without ``predict_labels`` it is an InputError.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        head, reason = self.decode_head, None
        if not hasattr(head, "predict_labels"):
            raise InputError(
                f"decode_head must have predict_labels, got a {type(head).__name__}; set "
                "model.type=EncoderDecoder."
            )
        if (self.test_cfg or {}).get("mode", "whole") == "slide":
            reason = "sliding windows average logits"
        elif getattr(head, "label_renderer", head) is None:
            reason = f"{type(head.renderer).__name__} renders logits only"
        self._predicts_labels = reason is None
        if reason is not None:
            print_log(
                f"LabelEncoderDecoder builds full-size logits, as EncoderDecoder does: {reason}.",
                logger="current",
            )

    def predict(self, inputs: Tensor, data_samples: SampleList | None = None) -> SampleList:
        """Predict ``pred_sem_seg``, (1, H, W), int64, of images, (B, C, H, W), which without
        ``data_samples`` are as large as their originals."""
        if not self._predicts_labels:
            return super().predict(inputs, data_samples)
        if data_samples is None:
            size = tuple(inputs.shape[2:])
            meta = dict(ori_shape=size, img_shape=size, pad_shape=size)
            data_samples = [SegDataSample(metainfo=meta) for _ in inputs]
        metas = [sample.metainfo for sample in data_samples]
        labels = self.decode_head.predict_labels(self.extract_feat(inputs), metas, self.test_cfg)
        for label, sample in zip(labels, data_samples, strict=True):
            sample.pred_sem_seg = PixelData(data=_unflip(label, sample.metainfo)[None])
        return data_samples


@MODELS.register_module()
class RetrofitEncoderDecoder(EncoderDecoder):
    """A trained segmentor that learns to sharpen what it sees: only its point head trains.

    Everything else is frozen: in evaluation mode, without gradients, without a loss of its own. The
    weights of the trained model come from ``load_from``. What results is a PointRend model like any
    other; ``EncoderDecoder`` runs it as well.

    Args:
        backbone (dict): Config of the trained model's backbone; its ``init_cfg`` is not read.
        decode_head (dict): Config of a :class:`PointRendHead` around the trained model's head.
        auxiliary_head, pretrained: Taken from the trained model's config, and not used.
        **kwargs: As of :class:`mmseg.models.EncoderDecoder`.

    Raises:
        InputError: If the decode head is no PointRendHead, or at the first training step if no
            weights were loaded or they do not fit.
    """

    def __init__(
        self,
        backbone: dict,
        decode_head: dict,
        auxiliary_head: dict | list[dict] | None = None,
        pretrained: str | None = None,
        **kwargs,
    ) -> None:
        if "init_cfg" in backbone:
            backbone = {**backbone, "init_cfg": None}
        super().__init__(backbone=backbone, decode_head=decode_head, **kwargs)
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
        """Losses and accuracy at the points, as ``decode.point.*``; an InputError if the weights of
        the trained model were not loaded or do not fit."""
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
    """Make the model of a config, in place, a :class:`LabelEncoderDecoder`, and say so in one line.

    For those who read labels only. Models without a :class:`PointRendHead`, models that average
    logits (``test_cfg.mode='slide'``) and other segmentors than ``EncoderDecoder`` and
    ``RetrofitEncoderDecoder`` stay as they are. Returns ``cfg``.
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
