"""Loading transforms that name the file when an image or its labels cannot be used."""

from typing import Any

from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS
from PIL import Image

from ..config import type_name
from ..errors import InputError


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """LoadImageFromFile with one line about a file that cannot be read.

    Raises:
        InputError: If the image is missing, empty, broken or no image.
    """

    def transform(self, results: dict) -> dict | None:
        """Load ``results['img_path']``."""
        try:
            return super().transform(results)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # whatever a decoder makes of broken bytes
            raise _unreadable(results["img_path"], "an image", error) from error


@TRANSFORMS.register_module()
class LoadCheckedAnnotations(LoadAnnotations):
    """LoadAnnotations with one line about labels that cannot be read or fit another image.

    Raises:
        InputError: If the label map is missing, broken, in color, of another size than the image,
            or has indices above 255, of which MMSegmentation would keep the lower eight bits.
    """

    def transform(self, results: dict) -> dict:
        """Load ``results['seg_map_path']``."""
        path = results.get("seg_map_path")
        _check_depth(path)
        try:
            results = super().transform(results)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # whatever a decoder makes of broken bytes
            raise _unreadable(path, "a label map", error) from error
        labels, size = results["gt_seg_map"], results.get("ori_shape")
        if labels.ndim < 2 and size is not None and labels.size == size[0] * size[1]:
            # MMSegmentation squeezes maps that are one pixel high or wide
            labels = results["gt_seg_map"] = labels.reshape(size[:2])
        shape = labels.shape
        if len(shape) > 2:
            raise InputError(
                f"{path} is a color image; labels are 8-bit PNG files of class indices, gray or "
                "with a palette."
            )
        if size is not None and shape != tuple(size[:2]):
            raise InputError(
                f"{path} has {shape[0]}x{shape[1]} pixels (height x width), its image "
                f"{results.get('img_path')} has {size[0]}x{size[1]}."
            )
        return results


def _check_depth(path: str | None) -> None:
    try:
        with Image.open(path) as labels:
            # no more than the header is read of those with eight bits
            largest = labels.getextrema()[1] if labels.mode[:1] in "IF" else 0
    except (OSError, AttributeError, ValueError, Image.DecompressionBombError):
        return  # on other storage, or broken: reading it in full has the words for that
    if largest > 255:
        raise InputError(
            f"{path} has the label {largest}; labels are 8-bit PNG files of class indices, 255 at "
            "most."
        )


def check_loading(cfg: Config) -> None:
    """Have a config load images and labels with the transforms of this file.

    Args:
        cfg (Config): Config of a run; changed in place.
    """
    for key in ("train_dataloader", "val_dataloader", "test_dataloader", "tta_pipeline"):
        _replace(cfg.get(key))


def _replace(part: Any) -> None:
    checked = {"LoadImageFromFile": LoadCheckedImage, "LoadAnnotations": LoadCheckedAnnotations}
    if isinstance(part, dict):
        kind = part.get("type")
        if isinstance(kind, str | type) and type_name(part) in checked:
            part["type"] = checked[type_name(part)].__name__
    for nested in part.values() if isinstance(part, dict) else part or ():
        if isinstance(nested, dict | list | tuple):
            _replace(nested)


def _unreadable(path: str | None, what: str, error: Exception) -> InputError:
    reason = isinstance(error, OSError) and error.strerror
    return InputError(f"{path} cannot be read as {what} ({reason or 'empty, broken or no image'}).")
