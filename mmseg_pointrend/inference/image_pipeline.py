"""From an image file or an array to what a model takes, as the config's test pipeline says."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmseg.registry import TRANSFORMS

from ..config import type_name
from ..datasets.checked_loading import keeps_16_bits
from ..datasets.data_settings import IMAGE_LOADERS, check_decoder
from ..datasets.layout import dataset_settings, innermost_datasets
from ..errors import InputError
from ..files import check_image
from .images import check_rgb_array


class ImagePipeline:
    """The test pipeline of a config, for images that have no labels.

    Files go through the config's own loading steps. Arrays take the place of what these give, as in
    MMSegmentation's ``inference_model``. Steps that load labels are left out. Raises an InputError
    if there is no pipeline, or a decoder that it names is not installed.
    """

    def __init__(self, cfg: Config) -> None:
        init_default_scope(cfg.get("default_scope", "mmseg"))
        loading, after = split_pipeline(cfg)
        loading = loading or [dict(type="LoadImageFromFile")]
        for step in loading:
            check_decoder(step)
        first = loading[0]
        self._load, self._prepare = Compose(loading), Compose(after)
        take = dict(type="LoadImageFromNDArray", to_float32=first.get("to_float32", False))
        self._take = TRANSFORMS.build(take)
        self._keeps_16_bits = type_name(first) not in IMAGE_LOADERS or keeps_16_bits(first)
        suffix = dataset_settings(tested_dataset(cfg)).get("img_suffix")
        # of the data set's images, such as '.npy'; '' if it names none
        self.suffix = Path(f"x{suffix}").suffix.lower() if isinstance(suffix, str) else ""
        self.obstacle = loading_obstacle(cfg)
        self.is_bgr = loads_bgr(self._load.transforms)

    def load(self, image: str | Path | np.ndarray) -> dict:
        """What the loading steps give for a file, ``img`` among it, or an array that stands for it.

        The array is (H, W, 3), BGR, uint8, or with an :attr:`obstacle` (H, W) or (H, W, C). Raises
        an InputError if the file cannot be read, or the array is no such image.
        """
        if isinstance(image, str | Path):
            return self._load_file(image)
        if self.obstacle is None:
            check_rgb_array(image)
        return self._take({"img": image, "seg_fields": []})

    def prepare(self, loaded: dict) -> dict:
        """From what :meth:`load` gives, ``inputs``, (C, H, W), and ``data_samples``."""
        return self._prepare({**loaded})

    def _load_file(self, path: str | Path) -> dict:
        try:
            check_image(Path(path).read_bytes(), path, self._keeps_16_bits)
            loaded = self._load({"img_path": str(path), "seg_fields": []})
            if loaded is None:  # ignore_empty=True
                raise ValueError("a step gives nothing")
        except (AttributeError, NameError, MemoryError, InputError):
            raise  # no fault of the file
        except Exception as error:  # decoders have dozens of their own
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{path}: the test pipeline cannot load it ({type(error).__name__}: {reason})."
            ) from error
        return loaded


def tested_dataset(cfg: Config) -> dict:
    """Config of the data set that a config tests on, of several the first one's."""
    return next(innermost_datasets(cfg.test_dataloader.dataset))


def loads_bgr(transforms: Iterable[object]) -> bool:
    """Whether a pipeline gives channels as OpenCV has them: blue, green, red."""
    return all(getattr(step, "imdecode_backend", None) != "tifffile" for step in transforms)


def loading_obstacle(cfg: Config) -> str | None:
    """What in a test pipeline loads others than BGR images, (H, W, 3), uint8, or None."""
    for number, step in enumerate(split_pipeline(cfg)[0]):
        if type_name(step) not in IMAGE_LOADERS or number:
            return type_name(step)
        if step.get("color_type", "color") != "color":
            return f"color_type={step['color_type']!r}"
        if step.get("imdecode_backend", "cv2") not in ("cv2", "pillow", "turbojpeg"):
            return f"imdecode_backend={step['imdecode_backend']!r}"
    return None


def split_pipeline(cfg: Config) -> tuple[list[dict], list[dict]]:
    """The steps of a test pipeline up to the last that loads, and the others; none for labels."""
    pipeline = tested_dataset(cfg).get("pipeline")
    if pipeline is None:
        raise InputError("test_dataloader.dataset has no pipeline, which prepares images.")
    steps = [step for step in pipeline if not re.search("Load.*Annotation", type_name(step))]
    loading = [k for k, step in enumerate(steps) if _loads(step, is_first=k == 0)]
    count = loading[-1] + 1 if loading else 0
    return steps[:count], steps[count:]


def _loads(step: dict, is_first: bool) -> bool:
    if "load" in type_name(step).lower():
        return True
    # MMSegmentation's inference_model takes the first step for the one that loads, too
    kind = TRANSFORMS.get(step["type"]) if isinstance(step["type"], str) else step["type"]
    module = getattr(kind, "__module__", "")
    return is_first and module.partition(".")[0] not in ("mmcv", "mmseg", "")
