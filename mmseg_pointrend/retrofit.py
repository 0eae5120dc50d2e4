"""PointRend on top of a model that is trained already."""

from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor, nn

from .checkpoints import check_weights
from .decode_head import PointRendHead
from .errors import InputError


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
        self.point_head.requires_grad_(True)
        self._is_loaded = False
        self.misfit: str | None = None

    @property
    def point_head(self) -> nn.Module:
        """nn.Module: The one part that trains."""
        return self.decode_head.point_head

    def train(self, mode: bool = True) -> "RetrofitEncoderDecoder":
        """Set the mode of the point head; the rest stays in evaluation mode."""
        super().train(mode)
        for part in self.children():
            part.eval()
        self.point_head.train(mode)
        return self

    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of the point head.

        Args:
            inputs (Tensor): Images, (B, 3, H, W).
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
        self._is_loaded, self.misfit = True, None
        try:
            check_weights(self, state_dict, "The checkpoint", fresh_point_head=True)
        except InputError as error:
            self.misfit = str(error)
        super()._load_from_state_dict(state_dict, *args, **kwargs)
