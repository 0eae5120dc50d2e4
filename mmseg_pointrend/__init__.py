"""PointRend for MMSegmentation: sharp boundaries at the cost of the boundary.

Importing the package registers its modules in the registries of MMSegmentation. Where PyTorch is
not installed it has nothing but the inferencer, which runs exported models there.
"""

from importlib.util import find_spec

from .errors import InputError, import_quietly
from .inference.inferencer import PointRendInferencer
from .version import __version__

if find_spec("torch") is None:
    __all__ = ["InputError", "PointRendInferencer", "__version__"]

    def __getattr__(name: str) -> None:
        # Modules of the package are looked for as names first.
        if name.startswith("_") or find_spec(f"{__name__}.{name}") is not None:
            raise AttributeError(name)
        raise ImportError(
            f"mmseg_pointrend.{name} needs PyTorch and MMSegmentation: "
            "pip install 'mmseg-pointrend[onedl]'. Without them there is PointRendInferencer "
            "for exported models alone."
        )

else:
    try:
        import mmseg  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "mmseg_pointrend needs MMSegmentation, which comes in two distributions; install one: "
            "pip install 'mmseg-pointrend[onedl]' (maintained, current PyTorch) or "
            "pip install 'mmseg-pointrend[openmmlab]' (the original, needs a compiled mmcv)."
        ) from error

    import_quietly("mmseg.datasets", "mmseg.models")

    from .checkpoints.fitting import load_weights
    from .datasets import CamVidDataset, ShapesDataset
    from .decode_head import PointRendHead
    from .engine.data_check import DataCheckHook
    from .engine.hooks import CheckpointCheckHook, InvalidLossHook
    from .engine.precision import BFloat16OptimWrapper
    from .engine.resuming import IterationSeedHook, WholeFileBackend
    from .evaluation.boundary_iou_metric import BoundaryIoUMetric
    from .models.backbones import EfficientNetLite
    from .models.image_branch import ImageBranch
    from .point_features import PointFeatures
    from .point_head import CoarseIdentityInit, PointMLP
    from .points import point_sample, top2_margin
    from .rendering import DenseRenderer, SparseRenderer
    from .samplers import UncertaintyPointSampler
    from .segmentors import LabelEncoderDecoder, RetrofitEncoderDecoder
    from .visualization.figure import PointVisualizationHook

    __all__ = [
        "BFloat16OptimWrapper",
        "BoundaryIoUMetric",
        "CamVidDataset",
        "CheckpointCheckHook",
        "CoarseIdentityInit",
        "DataCheckHook",
        "DenseRenderer",
        "EfficientNetLite",
        "ImageBranch",
        "InputError",
        "InvalidLossHook",
        "IterationSeedHook",
        "LabelEncoderDecoder",
        "PointFeatures",
        "PointMLP",
        "PointRendHead",
        "PointRendInferencer",
        "PointVisualizationHook",
        "RetrofitEncoderDecoder",
        "ShapesDataset",
        "SparseRenderer",
        "UncertaintyPointSampler",
        "WholeFileBackend",
        "__version__",
        "export_model",
        "load_weights",
        "point_sample",
        "top2_margin",
    ]

    def __getattr__(name: str) -> object:
        if name == "export_model":  # what it imports takes a second
            from .export.onnx_file import export_model

            return export_model
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
