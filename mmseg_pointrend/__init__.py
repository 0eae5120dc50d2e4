"""PointRend for MMSegmentation: sharp boundaries at the cost of the boundary.

Importing the package registers its modules in the registries of MMSegmentation.
"""

try:
    import mmseg  # noqa: F401
except ImportError as error:
    raise ImportError(
        "mmseg_pointrend needs MMSegmentation, which comes in two distributions; install one: "
        "pip install 'mmseg-pointrend[onedl]' (maintained, current PyTorch) or "
        "pip install 'mmseg-pointrend[openmmlab]' (the original, needs a compiled mmcv)."
    ) from error

from .checkpoints import trust_mmengine_checkpoints
from .datasets import CamVidDataset, ShapesDataset
from .decode_head import PointRendHead
from .evaluation import BoundaryIoUMetric
from .hooks import CheckpointCheckHook, DataCheckHook, InvalidLossHook
from .point_head import PointMLP
from .points import point_sample, top2_margin
from .precision import BFloat16OptimWrapper, ChannelsLastHook
from .rendering import DenseRenderer, SparseRenderer
from .retrofit import RetrofitEncoderDecoder
from .samplers import UncertaintyPointSampler
from .segmentor import LabelEncoderDecoder
from .version import __version__
from .visualization import PointVisualizationHook

trust_mmengine_checkpoints()

__all__ = [
    "BFloat16OptimWrapper",
    "BoundaryIoUMetric",
    "CamVidDataset",
    "ChannelsLastHook",
    "CheckpointCheckHook",
    "DataCheckHook",
    "DenseRenderer",
    "InvalidLossHook",
    "LabelEncoderDecoder",
    "PointMLP",
    "PointRendHead",
    "PointVisualizationHook",
    "RetrofitEncoderDecoder",
    "ShapesDataset",
    "SparseRenderer",
    "UncertaintyPointSampler",
    "__version__",
    "point_sample",
    "top2_margin",
]
