"""Exported models in ONNX Runtime, without PyTorch and MMEngine."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from .images import Segmentation, check_rgb_array, read_image

# Under which tools/export.py writes what belongs to the graph into the file's metadata, as JSON.
METADATA_KEY = "mmseg_pointrend"


class OnnxModel:
    """A model that ``tools/export.py`` has written, with the methods of ``TorchModel``.

    ``device`` is 'cpu', 'cuda', 'cuda:N' or, by default, a GPU if this ONNX Runtime can use one;
    ``threads`` are those of an operator, by default one for each core. Raises an InputError if
    there is no such device, or the file is missing, no ONNX model or none of ours.
    """

    suffix, is_bgr, obstacle = "", True, None

    def __init__(self, path: str | Path, device: str | None = None, threads: int = 0) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{path}: no such model file.")
        import onnxruntime as runtime

        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors, which are raised as well
        options.intra_op_num_threads = threads
        providers = _providers(device, runtime.get_available_providers())
        try:
            self._session = runtime.InferenceSession(
                self.path.read_bytes(), options, providers=providers
            )
        except Exception as error:  # it has a class of its own for each of its dozen errors
            raise InputError(
                f"{path} is no ONNX model that ONNX Runtime {runtime.__version__} can run "
                f"({_first_line(error)}); export it again."
            ) from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        try:
            known = json.loads(metadata[METADATA_KEY])
            self.classes: tuple[str, ...] = tuple(known["classes"])
            self.palette: list[list[int]] = known["palette"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} was not written by tools/export.py: its metadata does not name classes "
                "and palette."
            ) from error

    def load(self, image: str | Path | np.ndarray) -> dict:
        """Read a file, or check an array: a dict with ``img``, BGR, (H, W, 3), uint8."""
        if isinstance(image, str | Path):
            return {"img": read_image(image)}
        check_rgb_array(image)
        return {"img": image}

    def explain(self, image: dict) -> None:
        """Not there: raises InputError."""
        raise InputError("An exported model does not tell its points; use its checkpoint.")

    def segment_batch(self, images: Sequence[dict], logits: bool = False) -> list[Segmentation]:
        """Label every pixel of images of one size; with ``logits`` give these, too."""
        pixels = np.stack([image["img"][..., ::-1].transpose(2, 0, 1) for image in images])
        return [Segmentation(*parts) for parts in zip(*self.run(pixels, logits), strict=True)]

    def run(self, pixels: np.ndarray, logits: bool = False) -> list[np.ndarray]:
        """Labels, (B, H, W), int64, of RGB pixels, (B, 3, H, W), uint8; with ``logits`` also these,
        (B, C, H, W), float32."""
        names = ["labels", "logits"] if logits else ["labels"]
        if logits and len(self._session.get_outputs()) < 2:
            raise InputError(f"{self.path} gives labels alone; export it with --logits.")
        try:
            return self._session.run(names, {"images": pixels})
        except Exception as error:  # as above
            count, _, height, width = pixels.shape
            raise InputError(
                f"{self.path} cannot segment {count} images of {width}x{height} pixels "
                f"({_first_line(error)})."
            ) from error


def _providers(device: str | None, available: Sequence[str]) -> list:
    """ONNX Runtime's name for a device."""
    default = "cuda" if "CUDAExecutionProvider" in available else "cpu"
    kind, _, index = (device or default).partition(":")
    name = f"{kind.upper()}ExecutionProvider"
    if name not in available:
        raise InputError(f"device={device!r}: this ONNX Runtime has {', '.join(available)}.")
    return [(name, {"device_id": index} if index else {})]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
