"""From an image file or an array to what a model takes, as the config's test pipeline says."""

import inspect
from pathlib import Path

import mmcv
import numpy as np
from mmcv.transforms import LoadAnnotations
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, TRANSFORMS

from ..errors import InputError
from ..type_names import type_name
from .images import check_rgb_array, refuse_dark, refuse_truncated

# Loading steps and decoders that give BGR images of 8 bits, (H, W, 3).
PLAIN_LOADERS = ("LoadImageFromFile", "LoadCheckedImage")
PLAIN_DECODERS = ("cv2", "pillow", "turbojpeg")
# What MMCV's decoders are called in package registries.
DECODER_PACKAGES = {"turbojpeg": "PyTurboJPEG", "tifffile": "tifffile", "pillow": "Pillow"}


class ImagePipeline:
    """The test pipeline of a config, for images that have no labels.

    Files go through the config's own loading steps. Arrays take the place of what these give, as in
    MMSegmentation's ``inference_model``. All other steps follow, without those that load labels.

    Args:
        cfg (Config): A config with a ``test_dataloader``.

    Attributes:
        suffix (str): The suffix of the data set's images, such as '.npy'; '' if it names none.
        is_plain (bool): Whether images are BGR, (H, W, 3), uint8.
        is_bgr (bool): Whether the first three channels are blue, green and red rather than red,
            green and blue.

    Raises:
        InputError: If there is no pipeline, or a decoder that it names is not installed.
    """

    def __init__(self, cfg: Config) -> None:
        init_default_scope(cfg.get("default_scope", "mmseg"))
        loading, after = _split(cfg)
        loading = loading or [dict(type="LoadImageFromFile")]
        check_decoders(loading)
        to_float32 = loading[0].get("to_float32", False)
        self._loading = [TRANSFORMS.build(step) for step in loading]
        self._after = [TRANSFORMS.build(step) for step in after]
        self._take = TRANSFORMS.build(dict(type="LoadImageFromNDArray", to_float32=to_float32))
        self.suffix = _image_suffix(tested_dataset(cfg))
        self.is_plain = _loading_obstacle(cfg) is None
        self.is_bgr = all(
            type_name(step) in PLAIN_LOADERS and step.get("imdecode_backend") != "tifffile"
            for step in loading
        )

    def __call__(self, image: str | Path | np.ndarray) -> dict:
        """Load and prepare an image.

        Args:
            image (str | Path | np.ndarray): A file, or an array as the loading steps give it.

        Returns:
            dict: ``inputs``, (C, H, W), and ``data_samples``, of a batch's first sample.

        Raises:
            InputError: If the file cannot be read, or the array is no image.
        """
        return self.prepare(self.take(image) if isinstance(image, np.ndarray) else self.load(image))

    def read(self, path: str | Path) -> np.ndarray:
        """The pixels of a file as the loading steps give them, (H, W) or (H, W, C).

        Raises:
            InputError: If the file cannot be read.
        """
        return self.load(path)["img"]

    def load(self, path: str | Path) -> dict:
        """Run the loading steps on a file.

        Returns:
            dict: What they give, ``img`` among it; for :meth:`prepare`.

        Raises:
            InputError: If the file cannot be read.
        """
        refuse_truncated(path)
        results: dict | None = {"img_path": str(path), "seg_fields": []}
        for step in self._loading:
            name = type(step).__name__
            try:
                results = step(results)
            except ImportError as error:
                raise InputError(f"{path}: {name} needs a missing package ({error}).") from error
            except KeyError as error:
                raise InputError(
                    f"{path}: {name} needs {error}, which a file alone does not give; give its "
                    "result as an array, or use tools/test.py."
                ) from error
            except (AttributeError, NameError, MemoryError, InputError):
                raise  # no fault of the file
            except Exception as error:  # decoders have dozens of their own
                reason = " ".join(str(error).split()) or "no reason given"
                raise InputError(
                    f"{path}: {name} cannot read it ({type(error).__name__}: {reason[:200]})."
                ) from error
            if results is None:  # ignore_empty=True
                raise InputError(f"{path}: {name} cannot read it.")
        refuse_dark(results["img"], path)
        return results

    def take(self, image: np.ndarray) -> dict:
        """Let an array stand for what the loading steps give.

        Returns:
            dict: As of :meth:`load`.

        Raises:
            InputError: If it is no image: (H, W, 3), BGR, uint8 if :attr:`is_plain`, else (H, W) or
                (H, W, C).
        """
        if self.is_plain:
            check_rgb_array(image)
        elif not isinstance(image, np.ndarray) or image.ndim not in (2, 3) or not image.size:
            raise InputError(
                f"An image must be an array of shape (H, W) or (H, W, C), got "
                f"{getattr(image, 'shape', type(image).__name__)}."
            )
        return self._take({"img": image, "seg_fields": []})

    def prepare(self, results: dict) -> dict:
        """Run the steps that follow loading.

        Args:
            results (dict): What :meth:`load` or :meth:`take` has given; stays as it is.

        Returns:
            dict: ``inputs``, (C, H, W), and ``data_samples``.
        """
        results = {**results}
        for step in self._after:
            results = step(results)
        return results


def tested_dataset(cfg: Config) -> dict:
    """The data set that a config tests on, without what is wrapped around it.

    Args:
        cfg (Config): A config with a ``test_dataloader``.

    Returns:
        dict: Config of the innermost data set; of several, the first one's.
    """
    dataset = cfg.test_dataloader.dataset
    while "pipeline" not in dataset and ("dataset" in dataset or "datasets" in dataset):
        dataset = dataset["dataset"] if "dataset" in dataset else dataset["datasets"][0]
    return dataset


def steps_after_loading(cfg: Config) -> list[dict]:
    """The steps of a test pipeline behind those that load files.

    Args:
        cfg (Config): A config with a ``test_dataloader``.

    Returns:
        list[dict]: Configs of transforms, for images that are loaded already.

    Raises:
        InputError: If there is no pipeline.
    """
    return _split(cfg)[1]


def require_rgb_loading(cfg: Config, what: str) -> None:
    """Refuse a config whose images are other than RGB or BGR pixels of 8 bits, (H, W, 3).

    Args:
        cfg (Config): A config with a ``test_dataloader``.
        what (str): What takes such pixels alone, for the message: 'An exported model'.

    Raises:
        InputError: If its loading steps may give anything else.
    """
    obstacle = _loading_obstacle(cfg)
    if obstacle:
        raise InputError(
            f"{what} takes RGB images of 8 bits, but the test pipeline loads with {obstacle}, which "
            "may give others; tools/predict.py CONFIG CHECKPOINT without --tile reads them."
        )


def check_decoders(steps: list[dict]) -> None:
    """See whether the decoders are installed that loading steps name as ``imdecode_backend``.

    Args:
        steps (list[dict]): Configs of transforms.

    Raises:
        InputError: If one is not; names the package to install.
    """
    for step in steps:
        decoder = step.get("imdecode_backend")
        if decoder not in DECODER_PACKAGES:
            continue
        before = mmcv.image.io.imread_backend
        try:
            mmcv.use_backend(decoder)  # turbojpeg works only after this
        except (ImportError, RuntimeError) as error:
            raise InputError(
                f"imdecode_backend={decoder!r} cannot be used ({error}): pip install "
                f"{DECODER_PACKAGES[decoder]}, or choose 'cv2'."
            ) from error
        finally:
            mmcv.use_backend(before)


def _split(cfg: Config) -> tuple[list[dict], list[dict]]:
    """The steps of a test pipeline up to the last that loads, and the others; none for labels."""
    pipeline = tested_dataset(cfg).get("pipeline")
    if pipeline is None:
        raise InputError("test_dataloader.dataset has no pipeline, which prepares images.")
    steps = [step for step in pipeline if not _loads_labels(step)]
    loading = [k for k, step in enumerate(steps) if _loads(step, is_first=k == 0)]
    count = loading[-1] + 1 if loading else 0
    return steps[:count], steps[count:]


def _loads_labels(step: dict) -> bool:
    kind = _class(step)
    is_known = inspect.isclass(kind) and issubclass(kind, LoadAnnotations)
    return is_known or ("Load" in type_name(step) and "Annotation" in type_name(step))


def _loads(step: dict, is_first: bool) -> bool:
    if "load" in type_name(step).lower():
        return True
    # MMSegmentation's inference_model takes the first step for the one that loads, too
    module = getattr(_class(step), "__module__", "")
    return is_first and module.partition(".")[0] not in ("mmcv", "mmseg", "")


def _class(step: dict) -> type | None:
    kind = step["type"]
    return TRANSFORMS.get(kind) if isinstance(kind, str) else kind


def _loading_obstacle(cfg: Config) -> str | None:
    """What loads other images than colored ones of 8 bits, if anything does."""
    loading, _ = _split(cfg)
    for number, step in enumerate(loading):
        name = type_name(step)
        if name not in PLAIN_LOADERS or number:
            return name
        for key, plain in (("color_type", ("color",)), ("imdecode_backend", PLAIN_DECODERS)):
            if step.get(key, plain[0]) not in plain:
                return f"{key}={step[key]!r}"
    return None


def _image_suffix(dataset: dict) -> str:
    kind = DATASETS.get(dataset["type"]) if isinstance(dataset["type"], str) else dataset["type"]
    parameter = inspect.signature(kind).parameters.get("img_suffix") if kind else None
    default = getattr(parameter, "default", "")
    suffix = dataset.get("img_suffix", default)
    return Path(f"x{suffix}").suffix.lower() if isinstance(suffix, str) else ""
