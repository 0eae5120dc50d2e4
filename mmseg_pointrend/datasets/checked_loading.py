"""Loading transforms that name the file when an image or its labels cannot be used."""

from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS
from PIL import Image

from ..errors import InputError

# What decoders raise at broken files. A decoder that is missing raises something else.
DECODING_ERRORS = (OSError, ValueError, SyntaxError, cv2.error)
# 16-bit images of 12-bit cameras stay below this value; their upper 8 bits are nearly black.
DARK = 1 << 12


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """LoadImageFromFile with one line about a file that cannot be used.

    Raises:
        InputError: If the image is missing or broken, or as :func:`check_image` has it.
    """

    def transform(self, results: dict) -> dict | None:
        """Load ``results['img_path']``."""
        path = results["img_path"]
        try:
            content = fileio.get(path, self.backend_args)
            check_image(content, path, vars(self))
            image = mmcv.imfrombytes(content, self.color_type, backend=self.imdecode_backend)
            if image is None:
                raise ValueError("not an image that OpenCV can decode")
        except InputError:
            raise
        except DECODING_ERRORS as error:
            if self.ignore_empty:
                return None
            raise _unreadable(path, "an image", error) from error
        results["img"] = image.astype(np.float32) if self.to_float32 else image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadCheckedAnnotations(LoadAnnotations):
    """LoadAnnotations with one line about labels that cannot be used.

    Args:
        value_map (dict[int, int], optional): New label of each value that is no class index, such
            as {255: 1} for masks of 0 and 255. Applied last. Defaults to None.
        **kwargs: Arguments of :class:`mmseg.datasets.transforms.LoadAnnotations`.

    Raises:
        InputError: If the label map is missing, broken, in color, of another size than the image,
            or has indices above 255, of which MMSegmentation would keep the lower eight bits.
    """

    def __init__(self, value_map: dict[int, int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A config that was written to a file and read again has strings as keys.
        self.value_map = {int(old): new for old, new in (value_map or {}).items()}

    def transform(self, results: dict) -> dict:
        """Load ``results['seg_map_path']``, if there is one."""
        if "seg_map_path" not in results:
            return results  # MMSegmentation's APIs leave out LoadAnnotations by its name
        path = results["seg_map_path"]
        check_label_map(path)
        try:
            results = super().transform(results)
        except DECODING_ERRORS as error:
            raise _unreadable(path, "a label map", error) from error
        labels, size = results["gt_seg_map"], tuple(results.get("ori_shape", ())[:2])
        if size and labels.ndim < 2 and labels.size == size[0] * size[1]:
            labels = labels.reshape(size)  # MMSegmentation squeezes maps of one row or column
        if size and labels.shape != size:
            raise InputError(
                f"{path} has {labels.shape[0]}x{labels.shape[1]} pixels (height x width), its "
                f"image {results.get('img_path')} has {size[0]}x{size[1]}."
            )
        results["gt_seg_map"] = mapped = labels.copy() if self.value_map else labels
        for old, new in self.value_map.items():
            mapped[labels == old] = new
        return results


def check_image(content: bytes, path: str | Path, load: dict) -> None:
    """Refuse the content of an image file that loads, but not as what it shows.

    Args:
        load (dict): Config of the transform that loads it. One that keeps 16 bits takes any values.

    Raises:
        InputError: If it is empty, a truncated JPEG, which OpenCV fills up with gray, or a 16-bit
            image with values below 4096, of which the loader keeps the upper eight bits.
    """
    if not content:
        raise InputError(f"{path} cannot be read as an image (the file is empty).")
    if content.startswith(b"\xff\xd8"):
        # Scans have no markers in them: behind the last one comes the end of the image.
        if content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
            raise InputError(f"{path} cannot be read as an image (the JPEG is truncated).")
    elif _has_16_bits(content) and (
        load.get("imdecode_backend") != "tifffile" and load.get("color_type") != "unchanged"
    ):
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_ANYDEPTH)
        if image is not None and image.dtype == np.uint16 and 0 < image.max() < DARK:
            raise InputError(
                f"{path} has 16 bits and values up to {image.max()} only, so that its upper eight "
                "bits are nearly black; scale it to 0..65535, save it with 8 bits, or load it with "
                "color_type='unchanged' and a data_preprocessor that normalizes its range."
            )


def check_label_map(path: str | None) -> None:
    """Raise InputError at a label file in color or with indices above 255; a broken one passes."""
    try:
        with Image.open(path) as labels:
            color = len(labels.getbands()) > 1
            # Files of eight bits are not read any further than their header.
            largest = labels.getextrema()[1] if labels.mode[:1] in "IF" else 0
    except (OSError, AttributeError, ValueError, Image.DecompressionBombError):
        return
    problem = "is a color image" if color else f"has the label {largest:g}"
    if color or largest > 255:
        raise InputError(f"{path} {problem}; labels are 8-bit PNG files of class indices.")


def _has_16_bits(content: bytes) -> bool:
    if content.startswith(b"\x89PNG"):
        return content[24:25] == b"\x10"
    return content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # a TIFF may


def _unreadable(path: str | None, what: str, error: Exception) -> InputError:
    reason = isinstance(error, OSError) and error.strerror
    return InputError(f"{path} cannot be read as {what} ({reason or 'empty, broken or no image'}).")
