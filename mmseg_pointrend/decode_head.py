"""PointRend as a decode head."""

import logging
from collections.abc import Sequence
from inspect import signature

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmseg.models.decode_heads import PIDHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS, TASK_UTILS
from mmseg.utils import add_prefix
from torch import Tensor, nn
from torch.nn import functional as F

from .checkpoints.layouts import to_own_layout
from .errors import InputError
from .image_meta import input_size, unflipped, unpadded
from .points import point_labels, point_sample
from .rendering import DenseRenderer, SparseRenderer

# What the coarse head must have in common with the head that it belongs to.
SHARED_KEYS = ("num_classes", "out_channels", "ignore_index", "align_corners")


@MODELS.register_module()
class PointRendHead(BaseDecodeHead):
    """A coarse decode head, sharpened at single points (PointRend, https://arxiv.org/abs/1912.08193).

    Training adds to the loss of the coarse head that of a point head at a few points, most of them
    where the coarse head is unsure. Prediction renders: it upsamples the coarse logits step by step
    and has the point head re-label the least certain points of each step.

    Args:
        coarse_head (dict): Config of any decode head with a logit map. It takes ``num_classes``,
            ``out_channels``, ``ignore_index`` and ``align_corners`` from here unless it names them.
        in_channels (int | Sequence[int]): Channels of the fine features, of each level if several.
        channels (int): Width of the point head.
        num_classes (int): Number of classes.
        in_index (int | Sequence[int]): Which of the backbone's (or neck's) levels are the fine
            features. Defaults to 0, the finest.
        point_head (dict): Config of the point head, a PointMLP unless it has another ``type``.
            Defaults to all of its defaults.
        point_sampler (dict): Config of the sampler of training points, an UncertaintyPointSampler
            unless it has another ``type``. Defaults to all of its defaults.
        renderer (dict): Config of the renderer, a DenseRenderer unless it has another ``type``.
            Where only labels are asked for, a SparseRenderer with the same settings renders them.
            Defaults to all of its defaults.
        out_channels (int, optional): Channels of the logits; 1 for a binary model with a sigmoid.
            Defaults to None, that is ``num_classes``.
        threshold (float, optional): Threshold on the sigmoid of a one-channel model. Defaults to
            None, that is MMSegmentation's 0.3.
        loss_decode (dict | Sequence[dict]): Losses at the points. The coarse head has its own.
            Defaults to dict(type='CrossEntropyLoss').
        ignore_index (int): Label that no loss is taken at. Defaults to 255.
        align_corners (bool): How maps are upsampled and read. Defaults to False.
        detach_coarse (bool): Whether the loss at the points leaves the coarse head alone, training
            only the point head and the fine features. Defaults to False, as in the paper.
        init_cfg (dict, optional): Initialization beyond that of the parts. Defaults to None.

    Attributes:
        point_head_is_fresh (bool): Whether the weights that were loaded had none for the point head
            and it has not been trained since; it then refuses to predict.
        misfit (str, optional): The first of the weights that were loaded whose shape is not that of
            the head, which refuses to predict then too: MMEngine's loaders only print it. None
            where all fit, and once the head has been trained.

    Raises:
        InputError: If a part names another value for a key that it shares with this head; when
            training, if a loss cannot be taken at points.
    """

    def __init__(
        self,
        coarse_head: dict,
        in_channels: int | Sequence[int],
        channels: int,
        *,
        num_classes: int,
        in_index: int | Sequence[int] = 0,
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
        if isinstance(in_channels, int) != isinstance(in_index, int) or (
            not isinstance(in_channels, int) and len(in_channels) != len(in_index)
        ):
            raise InputError(
                f"in_index={in_index} and in_channels={in_channels} do not match: both are a "
                "number, or lists of the same length."
            )
        super().__init__(
            in_channels,
            channels,
            num_classes=num_classes,
            out_channels=out_channels,
            threshold=threshold,
            dropout_ratio=0,
            in_index=in_index,
            input_transform=None if isinstance(in_channels, int) else "multiple_select",
            loss_decode=loss_decode,
            ignore_index=ignore_index,
            align_corners=align_corners,
            init_cfg=init_cfg,
        )
        del self.conv_seg  # the last layer of the heads below takes its place
        self.coarse_head: BaseModule = MODELS.build(self._complete(coarse_head))
        self.point_head: nn.Module = MODELS.build(
            {
                "in_channels": sum(self._level_channels),
                "channels": channels,
                "out_channels": self.out_channels,
                **_part("PointMLP", point_head),
            }
        )
        shared = {"align_corners": align_corners}
        self.point_sampler = TASK_UTILS.build(
            {**shared, **_part("UncertaintyPointSampler", point_sampler)}
        )
        if self.out_channels == 1:
            self._refuse_other("renderer", renderer, "threshold")
        renderer = TASK_UTILS.build({**shared, **_part("DenseRenderer", renderer)})
        # One for logits and one for labels, whichever of them the config names.
        self.renderer = renderer.dense if isinstance(renderer, SparseRenderer) else renderer
        self.label_renderer: SparseRenderer | None = None
        if type(renderer) in (DenseRenderer, SparseRenderer):  # what a subclass does, nobody knows
            self.label_renderer = SparseRenderer.like(self.renderer, self.threshold)
        self.detach_coarse = detach_coarse
        self.point_head_is_fresh = False
        self.misfit: str | None = None

    def _complete(self, coarse_head: dict) -> dict:
        """Config of the coarse head, with what it shares with this head filled in."""
        mine = {key: getattr(self, key) for key in SHARED_KEYS}
        if self.out_channels == 1:
            mine["threshold"] = self.threshold
        for key in mine:
            self._refuse_other("coarse_head", coarse_head, key)
        return {**mine, **coarse_head}

    def _refuse_other(self, name: str, part: dict, key: str) -> None:
        """Refuse the config of a part that names another value than this head has."""
        mine = getattr(self, key)
        if part.get(key, mine) != mine:
            raise InputError(
                f"{key} differs: {name} has {part[key]!r}, PointRendHead has {mine!r}. "
                f"Set {key}={part[key]!r} in PointRendHead, or leave it out of {name}, which then "
                "takes that of PointRendHead."
            )

    @property
    def _level_channels(self) -> Sequence[int]:
        return [self.in_channels] if isinstance(self.in_channels, int) else self.in_channels

    def fine_features(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Pick the fine levels from the backbone's (or neck's) output.

        Args:
            inputs (Sequence[Tensor]): Feature maps, (B, D, h, w), finest first.

        Returns:
            list[Tensor]: The levels ``in_index``.

        Raises:
            InputError: If a level is not there or has other channels than ``in_channels`` says.
        """
        inputs = as_levels(inputs)
        indices = [self.in_index] if isinstance(self.in_index, int) else self.in_index
        for index, channels in zip(indices, self._level_channels, strict=True):
            if not -len(inputs) <= index < len(inputs):
                raise InputError(
                    f"Fine features, level {index}: the backbone (or neck) gives {len(inputs)} "
                    f"levels, 0 to {len(inputs) - 1}. Choose one of them with "
                    "decode_head.in_index, or have the backbone give more (out_indices)."
                )
            if inputs[index].shape[1] != channels:
                raise InputError(
                    f"Fine features, level {index}: the backbone (or neck) gives "
                    f"{inputs[index].shape[1]} channels, decode_head.in_channels says {channels}. "
                    f"Set decode_head.in_channels={inputs[index].shape[1]} for this level or "
                    "choose another with decode_head.in_index."
                )
        return [inputs[index] for index in indices]

    def coarse_logits(self, inputs: Sequence[Tensor]) -> Tensor:
        """Logits of the coarse head, (B, C, h, w), float32."""
        # Rendering compares differences of logits; half precision would tie most of them.
        return logit_map(self.coarse_head(inputs)).float()

    def forward(self, inputs: Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Render logits.

        Args:
            inputs (Sequence[Tensor]): Feature maps of the backbone or neck.
            size (tuple[int, int], optional): (H, W) to render. Defaults to None: four times the
                size of the first fine level, which is the image's where that level has stride 4.

        Returns:
            Tensor: Logits, (B, C, H, W), float32.
        """
        fine = self.fine_features(inputs)
        if size is None:
            size = tuple(4 * length for length in fine[0].shape[-2:])
        coarse_logits = within(self.coarse_logits(inputs), size, self.align_corners)
        return self.renderer(coarse_logits, fine, self.point_head, size=size)

    def predict(
        self, inputs: Sequence[Tensor], batch_img_metas: list[dict], test_cfg: dict
    ) -> Tensor:
        """Render logits at the size of the padded input, as ``EncoderDecoder`` expects them.

        Args:
            inputs (Sequence[Tensor]): Feature maps of the backbone or neck.
            batch_img_metas (list[dict]): Meta information of each image.
            test_cfg (dict): Not used; the renderer has its own settings.

        Returns:
            Tensor: Logits, (B, C, H, W), float32.
        """
        self.check_weights()
        return self.forward(inputs, size=input_size(batch_img_metas[0]))

    def predict_labels(
        self, inputs: Sequence[Tensor], batch_img_metas: list[dict], test_cfg: dict
    ) -> list[Tensor]:
        """Render the labels of the original images, as ``LabelEncoderDecoder`` expects them.

        They are those of the logits of :meth:`predict` after ``EncoderDecoder`` has removed the
        padding, undone the flip and resized them to the original size; none of these logits is
        ever built.

        Args:
            inputs (Sequence[Tensor]): Feature maps of the backbone or neck.
            batch_img_metas (list[dict]): Meta information of each image.
            test_cfg (dict): Not used; the renderer has its own settings.

        Returns:
            list[Tensor]: Labels of each image, (H, W), int64.

        Raises:
            InputError: If the config's renderer is none of this package.
        """
        self.check_weights()
        if self.label_renderer is None:
            raise InputError(
                f"A {type(self.renderer).__name__} renders no labels on their own; set "
                "model.type=EncoderDecoder."
            )
        size, fine = input_size(batch_img_metas[0]), self.fine_features(inputs)
        coarse_logits = within(self.coarse_logits(inputs), size, self.align_corners)
        labels = []
        for k, meta in enumerate(batch_img_metas):
            image = slice(k, k + 1)
            rendered = self.label_renderer(
                coarse_logits[image],
                [level[image] for level in fine],
                self.point_head,
                size,
                window=unpadded(meta, size),
                output_size=meta["ori_shape"][:2],
            )
            labels.append(unflipped(rendered.squeeze(0), meta))
        return labels

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: list, train_cfg: dict) -> dict:
        """Losses of a training step; the coarse head runs once.

        Args:
            inputs (Sequence[Tensor]): Feature maps of the backbone or neck.
            batch_data_samples (list[SegDataSample]): Labels, one for each image.
            train_cfg (dict): Not used; the sampler has its own settings.

        Returns:
            dict[str, Tensor]: The coarse head's losses and accuracy as ``coarse.*``, those at the
            points as ``point.*``. Those of a coarse model that is frozen are left out: there is
            nothing to learn from them.
        """
        self.point_head_is_fresh, self.misfit = False, None
        self._check_losses()
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)
        if isinstance(self.coarse_head, PIDHead) and self.coarse_head.training:
            raise InputError(
                "A PIDHead trains on other maps than it predicts from, so that a point head cannot "
                "train along with it; put it on the trained model (tools/retrofit.py)."
            )
        coarse = self.coarse_head(inputs)
        coarse_logits = logit_map(coarse).float()
        point_logits, point_targets = self._label_points(inputs, coarse_logits, labels)

        if torch.is_grad_enabled() and not coarse_logits.requires_grad:
            coarse_losses = {}
        elif self._has_targets(labels):
            coarse_losses = self.coarse_head.loss_by_feat(coarse, batch_data_samples)
        else:
            coarse_losses = _zero_losses(self.coarse_head, coarse)
        point_losses = self._point_losses(point_logits, point_targets)
        return {**add_prefix(coarse_losses, "coarse"), **add_prefix(point_losses, "point")}

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        """Take weights in any layout of :mod:`.weights.layouts`: all loaders end here."""
        weights, layout = to_own_layout(state_dict, prefix)
        # In place: the parts of this head are handed the same dictionary.
        state_dict.clear()
        state_dict.update(weights)
        given = {name.removeprefix(prefix).partition(".")[0] for name in weights}
        if layout is not None:
            self.point_head_is_fresh = "point_head" not in given
        if layout is not None and self.point_head_is_fresh:
            print_log(
                "The weights are those of a model without a point head: its decode head becomes "
                "the coarse head, the point head starts fresh and has to be trained.",
                logger="current",
                level=logging.WARNING,
            )
        self.misfit = self._first_misfit(weights, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _first_misfit(self, weights: dict[str, Tensor], prefix: str) -> str | None:
        for name, expected in self.state_dict().items():
            given = weights.get(prefix + name, expected)
            if given.shape != expected.shape:
                shapes = (tuple(given.shape), tuple(expected.shape))
                return f"{prefix}{name} is {shapes[0]} in the checkpoint, {shapes[1]} in the model"
        return None

    def _check_losses(self) -> None:
        for module in _loss_modules(self):
            name = type(module).__name__
            takes = signature(module.forward).parameters.values()
            if not any(p.name == "ignore_index" or p.kind is p.VAR_KEYWORD for p in takes):
                raise InputError(
                    f"{name} knows no ignore_index, and is no loss at points; set "
                    "decode_head.loss_decode to another, such as CrossEntropyLoss."
                )
            if self.out_channels == 1 and getattr(module, "use_sigmoid", True) is False:
                raise InputError(
                    f"One channel has a sigmoid, and decode_head.loss_decode a {name} that knows "
                    "none; set use_sigmoid=True in it."
                )

    def check_weights(self) -> None:
        """Refuse to predict with weights that were not loaded.

        Raises:
            InputError: If the checkpoint did not fit the model or had no point head.
        """
        if self.misfit is not None:
            raise InputError(
                f"The checkpoint does not fit the model: {self.misfit}. Use the config that it was "
                "trained with."
            )
        if self.point_head_is_fresh:
            raise InputError(
                "The checkpoint is incomplete: it holds a coarse model, and its point head was "
                "never trained. Train first, with load_from set to the checkpoint."
            )

    def _label_points(
        self, inputs: Sequence[Tensor], coarse_logits: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of the point head at sampled points, (B, C, N), and the labels there, (B, N)."""
        coords = self.point_sampler(coarse_logits, image_size=tuple(labels.shape[-2:]))
        fine = [
            point_sample(level, coords, self.align_corners) for level in self.fine_features(inputs)
        ]
        if self.detach_coarse:
            coarse_logits = coarse_logits.detach()
        coarse = point_sample(coarse_logits, coords, self.align_corners)
        point_logits = self.point_head(torch.cat(fine, dim=1), coarse).float()
        return point_logits, point_labels(labels, coords, self.align_corners)

    def _point_losses(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses and accuracy of (B, C, N) logits at points with (B, N) labels."""
        if not self._has_targets(labels):
            return _zero_losses(self, logits)
        # To MMSegmentation's losses the points are an image one pixel wide.
        image, target = logits.unsqueeze(-1), labels.unsqueeze(-1)
        losses: dict[str, Tensor] = {}
        for module in _loss_modules(self):
            loss = module(image, target, ignore_index=self.ignore_index)
            losses[module.loss_name] = losses.get(module.loss_name, 0) + loss
        losses["acc_point"] = self._accuracy(logits, labels)
        return losses

    def _accuracy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Share of the labeled points that are right, in percent; 0 where none is labeled."""
        if self.out_channels == 1:
            predicted = (logits.squeeze(1).sigmoid() > self.threshold).long()
        else:
            predicted = logits.argmax(dim=1)
        labeled = labels != self.ignore_index
        return 100 * ((predicted == labels) & labeled).sum() / labeled.sum().clamp(min=1)

    def _has_targets(self, labels: Tensor) -> bool:
        """Whether a loss can be taken: where all is ignored, some of MMSegmentation's fail."""
        # Binary cross entropy takes the maximum of what is left, the Lovász loss its mean.
        return bool((labels != self.ignore_index).any())


def _part(kind: str, config: dict) -> dict:
    """Config of a part, of that kind unless it names another."""
    # MMEngine leaves _delete_ in what replaces nothing.
    return {"type": kind, **{key: value for key, value in config.items() if key != "_delete_"}}


def as_levels(features: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    """The levels of a backbone's output; some backbones, as DDRNet, give a single map."""
    return [features] if isinstance(features, Tensor) else features


def logit_map(output: Tensor | Sequence) -> Tensor:
    """The logit map of a coarse head's output; some heads, as EncHead, return more beside it."""
    return output if isinstance(output, Tensor) else output[0]


def within(logits: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Resize logits, (B, C, h, w), that are larger than an image of ``size`` = (H, W).

    Some heads, as SETRUPHead, upsample maps of whole patches to more than the image has.
    """
    height, width = map(min, logits.shape[-2:], size)
    if (height, width) == tuple(logits.shape[-2:]):
        return logits
    return F.interpolate(logits, (height, width), mode="bilinear", align_corners=align_corners)


def _loss_modules(head: BaseDecodeHead) -> Sequence[nn.Module]:
    modules = head.loss_decode
    return modules if isinstance(modules, nn.ModuleList) else [modules]


def _zero_losses(head: BaseDecodeHead, output: Tensor | Sequence[Tensor]) -> dict[str, Tensor]:
    """The losses of a head that has nothing to learn from, connected to all of its output."""
    outputs = [output] if isinstance(output, Tensor) else output
    nothing = 0 * sum(part.sum() for part in outputs)
    return {module.loss_name: nothing for module in _loss_modules(head)}
