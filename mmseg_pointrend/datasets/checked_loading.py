"""Loading transforms that name the file when an image or its labels cannot be used."""

from typing import Any

import cv2
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS
from PIL import Image

from ..errors import InputError
from ..files import check_image

# What decoders raise at broken files. A decoder that is missing raises something else.
DECODING_ERRORS = (OSError, ValueError, SyntaxError, cv2.error)


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """LoadImageFromFile with an InputError about an image that is missing or broken, or refused by
    :func:`~mmseg_pointrend.files.check_image`."""

    def transform(self, results: dict) -> dict | None:
        """Load ``results['img_path']``."""
        path = results["img_path"]
        try:
            check_image(fileio.get(path, self.backend_args), path, keeps_16_bits(vars(self)))
            return super().transform(results)
        except InputError:
            raise
        except (*DECODING_ERRORS, AssertionError) as error:  # OpenCV gives None, MMCV asserts
            if self.ignore_empty:
                return None
            raise _unreadable(path, "an image", error) from error


@TRANSFORMS.register_module()
class LoadCheckedAnnotations(LoadAnnotations):
    """LoadAnnotations with one line about labels that cannot be used.

    ``value_map`` has a new label for each value that is no class index, such as {255: 1} for masks
    of 0 and 255; it is applied last. The other arguments are those of LoadAnnotations.

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
                f"{path} has the shape {labels.shape} (height, width), its image "
                f"{results.get('img_path')} has {size}."
            )
        results["gt_seg_map"] = labels.copy()
        for old, new in self.value_map.items():
            results["gt_seg_map"][labels == old] = new
        return results


def keeps_16_bits(load: dict) -> bool:
    """Whether a transform of type LoadImageFromFile, given as config, keeps all bits of 16."""
    return load.get("imdecode_backend") == "tifffile" or load.get("color_type") == "unchanged"


def check_label_map(path: str | None) -> None:
    """Raise InputError at a label file in color or with indices above 255; a broken one passes."""
    try:
        with Image.open(path) as labels:
            is_color = len(labels.getbands()) > 1
            # Files of eight bits are not read any further than their header.
            largest = labels.getextrema()[1] if labels.mode[:1] in "IF" else 0
    except (OSError, AttributeError, ValueError, Image.DecompressionBombError):
        return
    if is_color or largest > 255:
        problem = "is a color image" if is_color else f"has the label {largest:g}"
        raise InputError(f"{path} {problem}; labels are 8-bit PNG files of class indices.")


def _unreadable(path: str | None, what: str, error: Exception) -> InputError:
    reason = isinstance(error, OSError) and error.strerror
    return InputError(f"{path} cannot be read as {what} ({reason or 'empty, broken or no image'}).")
