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

from .datasets import CamVidDataset, ShapesDataset
from .decode_head import PointRendHead
from .evaluation import BoundaryIoUMetric
from .hooks import DataCheckHook, InvalidLossHook
from .point_head import PointMLP
from .points import point_sample, top2_margin
from .rendering import DenseRenderer
from .samplers import UncertaintyPointSampler
from .version import __version__
from .visualization import PointVisualizationHook

__all__ = [
    "BoundaryIoUMetric",
    "CamVidDataset",
    "DataCheckHook",
    "DenseRenderer",
    "InvalidLossHook",
    "PointMLP",
    "PointRendHead",
    "PointVisualizationHook",
    "ShapesDataset",
    "UncertaintyPointSampler",
    "__version__",
    "point_sample",
    "top2_margin",
]
