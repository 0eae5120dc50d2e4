"""PointRend as a decode head: coarse head, sampler, point features, point head and renderer."""

from collections.abc import Sequence

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS, TASK_UTILS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor, nn

from .checkpoints.fitting import adapt_weights
from .config import build_part, takes
from .errors import InputError
from .models.coarse_heads import (
    build_coarse_head,
    check_trainable,
    coarse_losses,
    coarse_output,
    logit_map,
    refuse_disagreement,
    within,
)
from .models.image_branch import image_of
from .models.losses import check_losses, point_losses
from .point_features import pair_levels, pick_levels
from .point_head import refuse_point_head_settings
from .points import Window, point_labels
from .rendering import SparseRenderer


@MODELS.register_module()
class PointRendHead(BaseDecodeHead):
    """A coarse decode head, sharpened at single points (PointRend, https://arxiv.org/abs/1912.08193).

    Training adds to the loss of the coarse head that of a point head at a few points. Prediction
    renders: it upsamples the coarse logits step by step, and the point head labels the least
    certain points of each step again.

    Args:
        coarse_head (dict | Sequence[dict]): Config of any decode head with a logit map, or those of
            a cascade. Each takes ``num_classes``, ``out_channels``, ``ignore_index`` and
            ``align_corners`` from here unless it has them.
        in_channels (int | Sequence[int]): Channels of the fine features, of each level if several.
        channels (int): Width of the point head.
        num_classes (int): Number of classes.
        in_index (int | Sequence[int]): Levels of the backbone (or neck) that are the fine features.
            Defaults to 0, the finest.
        image_branch (dict, optional): An ImageBranch, whose levels come before those of
            ``in_index``. The backbone has to be of type ``WithImage``. Defaults to None.
        point_features (dict): A PointFeatures unless it has another ``type``, as for the next
            three: a PointMLP, an UncertaintyPointSampler and a DenseRenderer. Defaults to dict().
        point_head, point_sampler, renderer (dict): See ``point_features``. A sampler is given the
            labels if it takes ``labels``.
        out_channels (int, optional): Channels of the logits; 1 for a binary model with a sigmoid.
            Defaults to None, that is ``num_classes``.
        threshold (float, optional): Threshold on the sigmoid of a one-channel model. Defaults to
            None, that is MMSegmentation's 0.3.
        loss_decode (dict | Sequence[dict]): Losses at the points. The coarse head has its own.
            Defaults to dict(type='CrossEntropyLoss').
        ignore_index (int): Label that no loss is taken at. Defaults to 255.
        align_corners (bool): How maps are upsampled and read. Defaults to False.
        detach_coarse (bool): Whether the loss at the points leaves the coarse head alone. Defaults
            to False, as in the paper.
        init_cfg (dict, optional): Initialization beyond that of the parts. Defaults to None.

    Attributes:
        label_renderer (SparseRenderer, optional): Renders labels as ``renderer`` renders logits.
            None if that is of a class that renders in another way than a DenseRenderer.
        misfit (str, optional): What is wrong with the weights that were loaded last; the head
            refuses to predict with them. None if they fit, and after a training step.

    Raises:
        InputError: If a part has another value for a setting that it shares with this head.
    """

    def __init__(
        self,
        coarse_head: dict | Sequence[dict],
        in_channels: int | Sequence[int],
        channels: int,
        *,
        num_classes: int,
        in_index: int | Sequence[int] = 0,
        image_branch: dict | None = None,
        point_features: dict = dict(),
        point_head: dict = dict(),
        point_sampler: dict = dict(),
        renderer: dict = dict(),
        out_channels: int | None = None,
        threshold: float | None = None,
        loss_decode: dict | Sequence[dict] = dict(type="CrossEntropyLoss"),
        ignore_index: int = 255,
        align_corners: bool = False,
        detach_coarse: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        levels = pair_levels(in_index, in_channels)
        super().__init__(
            in_channels,
            channels,
            num_classes=num_classes,
            out_channels=out_channels,
            threshold=threshold,
            dropout_ratio=0,
            in_index=in_index,
            input_transform=None if isinstance(in_index, int) else "multiple_select",
            loss_decode=loss_decode,
            ignore_index=ignore_index,
            align_corners=align_corners,
            init_cfg=init_cfg,
        )
        del self.conv_seg  # the last layer of the heads below takes its place
        self.levels, self.detach_coarse, self.misfit = levels, detach_coarse, None
        self.coarse_head: nn.Module = build_coarse_head(coarse_head, self)
        shared = {"align_corners": align_corners, "ignore_index": ignore_index}
        self.point_features = build_part(TASK_UTILS, "PointFeatures", point_features, shared)
        depths, self.image_branch = [depth for _, depth in levels], None
        if image_branch is not None:
            self.image_branch = build_part(MODELS, "ImageBranch", image_branch, {})
            depths = [*self.image_branch.channels, *depths]
        fine = self.point_features.num_channels(depths, self.out_channels)
        widths = {"in_channels": fine, "channels": channels, "out_channels": self.out_channels}
        self.point_head: nn.Module = build_part(MODELS, "PointMLP", point_head, widths)
        kind = "UncertaintyPointSampler"
        self.point_sampler = build_part(TASK_UTILS, kind, point_sampler, shared)
        own = {"align_corners": align_corners, "point_features": self.point_features}
        self.renderer = build_part(TASK_UTILS, "DenseRenderer", renderer, own)
        # One for logits and one for labels, whichever of them the config has.
        if isinstance(self.renderer, SparseRenderer):
            self.label_renderer, self.renderer = self.renderer, self.renderer.dense
            if self.out_channels == 1:
                refuse_disagreement("renderer", renderer, "threshold", self.threshold)
                self.label_renderer.threshold = self.threshold
        else:
            self.label_renderer = SparseRenderer.like(self.renderer, self.threshold)

    def fine_features(self, inputs: Tensor | Sequence) -> list[Tensor]:
        """Pick the levels ``in_index``, (B, D, h, w), from what the backbone (or neck) gives, after
        those of the image branch."""
        levels = pick_levels(inputs, self.levels)
        if self.image_branch is None:
            return levels
        return [*self.image_branch(image_of(inputs)), *levels]

    def coarse_logits(
        self, inputs: Tensor | Sequence, size: tuple[int, int] | None = None
    ) -> Tensor:
        """Logits of the coarse head, (B, C, h, w), float32, no larger than ``size`` = (H, W)."""
        # Rendering compares differences of logits; half precision would tie most of them.
        logits = logit_map(coarse_output(self.coarse_head, inputs)).float()
        return logits if size is None else within(logits, size, self.align_corners)

    def forward(self, inputs: Tensor | Sequence, size: tuple[int, int] | None = None) -> Tensor:
        """Render logits, (B, C, H, W), float32, from what the backbone (or neck) gives.

        ``size`` is (H, W) to render, by default four times that of the first level of ``in_index``.
        """
        fine = self.fine_features(inputs)
        if size is None:
            first = pick_levels(inputs, self.levels[:1])[0]
            size = tuple(4 * length for length in first.shape[-2:])
        return self.renderer(self.coarse_logits(inputs, size), fine, self.point_head, size=size)

    def predict(
        self, inputs: Tensor | Sequence, batch_img_metas: list[dict], test_cfg: dict | None
    ) -> Tensor:
        """Render logits, (B, C, H, W), float32, at the size of the padded input; an InputError if
        the weights do not fit or ``test_cfg`` has settings of a PointHead."""
        self.check_prediction(test_cfg)
        return self.forward(inputs, size=input_size(batch_img_metas[0]))

    def predict_labels(
        self, inputs: Tensor | Sequence, batch_img_metas: list[dict], test_cfg: dict | None
    ) -> list[Tensor]:
        """Render labels of each image, (H, W), int64, at the original size, as
        ``LabelEncoderDecoder`` expects them; flipped if the image is.

        They are those of the logits of :meth:`predict`, without the padding and resized to the
        original size; none of these logits is ever built. Raises an InputError as :meth:`predict`,
        and if there is no ``label_renderer``.
        """
        self.check_prediction(test_cfg)
        if self.label_renderer is None:
            kind = type(self.renderer).__name__
            raise InputError(f"A {kind} renders logits only; set model.type=EncoderDecoder.")
        size, fine = input_size(batch_img_metas[0]), self.fine_features(inputs)
        coarse_logits = self.coarse_logits(inputs, size)
        return [
            self.label_renderer(
                coarse_logits[k : k + 1],
                [level[k : k + 1] for level in fine],
                self.point_head,
                size,
                window=unpadded(meta, size),
                output_size=meta["ori_shape"][:2],
            ).squeeze(0)
            for k, meta in enumerate(batch_img_metas)
        ]

    def check_prediction(self, test_cfg: dict | None) -> None:
        """Raise an InputError where :meth:`predict` does."""
        if self.misfit is not None:
            raise InputError(self.misfit)
        refuse_point_head_settings(test_cfg)

    def loss(
        self,
        inputs: Tensor | Sequence,
        batch_data_samples: list[SegDataSample],
        train_cfg: dict | None,
    ) -> dict[str, Tensor]:
        """The coarse head's losses and accuracy as ``coarse.*``, none if it is frozen, and those of
        :meth:`loss_by_feat` as ``point.*``; an InputError if a head cannot be trained or
        ``train_cfg`` is that of a PointHead."""
        refuse_point_head_settings(train_cfg)
        check_trainable(self.coarse_head)
        check_losses(self)
        self.misfit = None
        coarse = coarse_output(self.coarse_head, inputs)
        coarse_logits = logit_map(coarse).float()
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)
        given = {"labels": labels} if takes(self.point_sampler, "labels") else {}
        points = self.point_sampler(coarse_logits, image_size=tuple(labels.shape[-2:]), **given)
        seen = coarse_logits.detach() if self.detach_coarse else coarse_logits
        features = self.point_features(self.fine_features(inputs), seen, points)
        point_logits = self.point_head(*features).float()
        of_coarse = coarse_losses(self.coarse_head, coarse, batch_data_samples, self.ignore_index)
        of_points = self.loss_by_feat(point_logits, points, batch_data_samples)
        return {**add_prefix(of_coarse, "coarse"), **add_prefix(of_points, "point")}

    def loss_by_feat(
        self, point_logits: Tensor, points: Tensor, batch_data_samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """Losses and accuracy of logits, (B, C, N), float32, at points, (B, N, 2), with the
        arguments of MMSegmentation's ``PointHead``."""
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)
        return point_losses(self, point_logits, point_labels(labels, points, self.align_corners))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        self.misfit = adapt_weights(self, state_dict, prefix)  # all loaders end here
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def input_size(img_meta: dict) -> tuple[int, int]:
    """(height, width) of what went into the network, padding included."""
    # A sliding window leaves its own size, a torch.Size, in img_shape.
    if "pad_shape" in img_meta and not isinstance(img_meta["img_shape"], torch.Size):
        return tuple(img_meta["pad_shape"][:2])
    return tuple(img_meta["img_shape"][:2])


def unpadded(img_meta: dict, size: tuple[int, int]) -> Window:
    """The part of a network input of ``size`` = (H, W) that is no padding."""
    padding = img_meta.get("img_padding_size", img_meta.get("padding_size", (0, 0, 0, 0)))
    left, right, top, bottom = padding
    return Window(top, left, size[0] - top - bottom, size[1] - left - right)
