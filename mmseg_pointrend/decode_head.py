"""PointRend as a decode head."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS, TASK_UTILS
from mmseg.utils import add_prefix
from torch import Tensor, nn

from .errors import InputError
from .points import point_labels, point_sample

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
        point_head (dict): Config of the point head. Defaults to dict(type='PointMLP').
        point_sampler (dict): Config of the sampler of training points. Defaults to
            dict(type='UncertaintyPointSampler').
        renderer (dict): Config of the renderer. Defaults to dict(type='DenseRenderer').
        out_channels (int, optional): Channels of the logits; 1 for a binary model with a sigmoid.
            Defaults to None, that is ``num_classes``.
        threshold (float, optional): Threshold on the sigmoid of a one-channel model. Defaults to
            None, that is MMSegmentation's 0.3.
        loss_decode (dict | Sequence[dict]): Losses at the points. The coarse head has its own.
            Defaults to dict(type='CrossEntropyLoss').
        ignore_index (int): Label that no loss is taken at. Defaults to 255.
        align_corners (bool): How maps are upsampled and read. Defaults to False.
        init_cfg (dict, optional): Initialization beyond that of the parts. Defaults to None.

    Raises:
        InputError: If the coarse head names another value for a key that it shares with this head.
    """

    def __init__(
        self,
        coarse_head: dict,
        in_channels: int | Sequence[int],
        channels: int,
        *,
        num_classes: int,
        in_index: int | Sequence[int] = 0,
        point_head: dict = dict(type="PointMLP"),
        point_sampler: dict = dict(type="UncertaintyPointSampler"),
        renderer: dict = dict(type="DenseRenderer"),
        out_channels: int | None = None,
        threshold: float | None = None,
        loss_decode: dict | Sequence[dict] = dict(type="CrossEntropyLoss"),
        ignore_index: int = 255,
        align_corners: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
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
                **point_head,
            }
        )
        shared = {"align_corners": align_corners}
        self.point_sampler = TASK_UTILS.build({**shared, **point_sampler})
        self.renderer = TASK_UTILS.build({**shared, **renderer})

    def _complete(self, coarse_head: dict) -> dict:
        """Config of the coarse head with what it shares with this head filled in and compared."""
        mine = {key: getattr(self, key) for key in SHARED_KEYS}
        for key in SHARED_KEYS:
            if coarse_head.get(key, mine[key]) != mine[key]:
                raise InputError(
                    f"{key} differs: coarse_head has {coarse_head[key]!r}, PointRendHead has "
                    f"{mine[key]!r}. Leave it out of coarse_head, which then takes that of "
                    "PointRendHead."
                )
        if self.out_channels == 1:
            mine["threshold"] = self.threshold
        return {**mine, **coarse_head}

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
            InputError: If a level has other channels than ``in_channels`` says.
        """
        indices = [self.in_index] if isinstance(self.in_index, int) else self.in_index
        for index, channels in zip(indices, self._level_channels, strict=True):
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
        return _logit_map(self.coarse_head(inputs)).float()

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
        return self.renderer(self.coarse_logits(inputs), fine, self.point_head, size=size)

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
        return self.forward(inputs, size=_input_size(batch_img_metas[0]))

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: list, train_cfg: dict) -> dict:
        """Losses of a training step; the coarse head runs once.

        Args:
            inputs (Sequence[Tensor]): Feature maps of the backbone or neck.
            batch_data_samples (list[SegDataSample]): Labels, one for each image.
            train_cfg (dict): Not used; the sampler has its own settings.

        Returns:
            dict[str, Tensor]: The coarse head's losses and accuracy as ``coarse.*``, those at the
            points as ``point.*``.
        """
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)
        coarse = self.coarse_head(inputs)
        coarse_logits = _logit_map(coarse)
        point_logits, point_targets = self._label_points(inputs, coarse_logits, labels)

        if self._has_targets(labels):
            coarse_losses = self.coarse_head.loss_by_feat(coarse, batch_data_samples)
        else:
            coarse_losses = {"loss_ce": 0 * coarse_logits.sum()}
        point_losses = self._point_losses(point_logits, point_targets)
        return {**add_prefix(coarse_losses, "coarse"), **add_prefix(point_losses, "point")}

    def _label_points(
        self, inputs: Sequence[Tensor], coarse_logits: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of the point head at sampled points, (B, C, N), and the labels there, (B, N)."""
        coords = self.point_sampler(coarse_logits, image_size=tuple(labels.shape[-2:]))
        fine = [
            point_sample(level, coords, self.align_corners) for level in self.fine_features(inputs)
        ]
        coarse = point_sample(coarse_logits, coords, self.align_corners)
        point_logits = self.point_head(torch.cat(fine, dim=1), coarse).float()
        return point_logits, point_labels(labels, coords, self.align_corners)

    def _point_losses(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses and accuracy of (B, C, N) logits at points with (B, N) labels."""
        modules = self.loss_decode
        modules = modules if isinstance(modules, nn.ModuleList) else [modules]
        if not self._has_targets(labels):
            return {module.loss_name: 0 * logits.sum() for module in modules}
        # To MMSegmentation's losses the points are an image one pixel wide.
        image, target = logits.unsqueeze(-1), labels.unsqueeze(-1)
        losses: dict[str, Tensor] = {}
        for module in modules:
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
        """Whether a loss can be taken. All losses but one bear images that are ignored
        altogether."""
        # MMSegmentation's binary cross entropy takes the maximum of the labels that are left.
        return self.out_channels > 1 or bool((labels != self.ignore_index).any())


def _logit_map(output: Tensor | Sequence) -> Tensor:
    """The logit map of a coarse head's output; some heads return more beside it, as EncHead
    does."""
    return output if isinstance(output, Tensor) else output[0]


def _input_size(img_meta: dict) -> tuple[int, int]:
    """(height, width) of what went into the network, padding included."""
    # A sliding window leaves its own size, a torch.Size, in img_shape.
    if "pad_shape" in img_meta and not isinstance(img_meta["img_shape"], torch.Size):
        return tuple(img_meta["pad_shape"][:2])
    return tuple(img_meta["img_shape"][:2])
