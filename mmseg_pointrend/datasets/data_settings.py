"""Settings of data in a config that contradict each other or the files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import mmcv
from mmengine.config import Config

from ..config import parts, type_name
from ..errors import InputError
from ..files import check_image
from .checked_loading import check_label_map, keeps_16_bits
from .layout import dataset_settings, innermost_datasets, list_files

IMAGE_LOADERS = ("LoadImageFromFile", "LoadCheckedImage")
LABEL_LOADERS = ("LoadAnnotations", "LoadCheckedAnnotations")
# Transforms that may give a crop another size.
RESIZES = ("Albu", "Pad", "RandomChoiceResize", "RandomResize", "Resize", "ResizeToMultiple")
# Files of a data set that are looked into.
NUM_SAMPLES = 20


def check_data_settings(
    cfg: Config, loaders: Sequence[str] = ("train_dataloader", "val_dataloader")
) -> None:
    """Refuse a config whose data, in the loaders that a run uses, cannot be read or would be read
    wrongly.

    Raises:
        InputError: If files are missing or hold something else than images and class indices, a
            decoder is not installed, or settings of padding, sizes or ``reduce_zero_label``
            disagree. Names the settings.
    """
    zero_labels: dict[str, tuple[str, bool]] = {}
    for loader in loaders:
        if cfg.get(loader) is None:
            continue
        for dataset in innermost_datasets(cfg[loader].dataset):
            files, steps = list_files(dataset), [*_steps(dataset.get("pipeline") or ())]
            for step in steps:
                check_decoder(step)
            _check_zero_label(dataset, steps, loader, zero_labels)
            _check_files(files[:: max(1, len(files) // NUM_SAMPLES)][:NUM_SAMPLES], steps)
    if "train_dataloader" in loaders and cfg.get("train_dataloader") and cfg.get("model"):
        _check_padding(cfg)


def check_decoder(step: dict) -> None:
    """Raise InputError if the ``imdecode_backend`` of a transform, given as config, is missing."""
    decoder, before = step.get("imdecode_backend"), mmcv.image.io.imread_backend
    if decoder is None:
        return
    try:
        mmcv.use_backend(decoder)  # turbojpeg works only after this
    except (AssertionError, ImportError, RuntimeError) as error:
        raise InputError(
            f"imdecode_backend={decoder!r} cannot be used: {error}. Install it, or choose 'cv2'."
        ) from error
    finally:
        mmcv.use_backend(before)


def _steps(pipeline: Sequence) -> Iterator[dict]:
    """The transforms of a pipeline, those inside of others included."""
    for step in pipeline:
        if isinstance(step, Sequence):
            yield from _steps(step)
        elif isinstance(step, dict):
            yield step
            yield from _steps(step.get("transforms") or ())


def _check_zero_label(
    dataset: dict, steps: list[dict], loader: str, others: dict[str, tuple[str, bool]]
) -> None:
    """Compare with the transforms, and with other data sets of the same type."""
    name, own = type_name(dataset), dataset_settings(dataset).get("reduce_zero_label", False)
    for step in steps:
        if type_name(step) in LABEL_LOADERS and step.get("reduce_zero_label") not in (None, own):
            raise InputError(
                f"reduce_zero_label differs in {loader}: {name} has {own}, {type_name(step)} has "
                f"{step['reduce_zero_label']}; set it in the data set and leave it out of the "
                "pipeline."
            )
    other_loader, other = others.setdefault(name, (loader, own))
    if other != own:
        raise InputError(
            f"reduce_zero_label differs: {name} has {other} in {other_loader} and {own} in "
            f"{loader}; set both to the same value."
        )


def _check_files(files: list[tuple[str, str | None]], steps: list[dict]) -> None:
    load = next((step for step in steps if type_name(step) in IMAGE_LOADERS), None)
    loads_labels = any(type_name(step) in LABEL_LOADERS for step in steps)
    for image, labels in files:
        if load is not None:
            check_image(Path(image).read_bytes(), image, keeps_16_bits(load))
        if loads_labels and labels is not None:
            check_label_map(labels)


def _check_padding(cfg: Config) -> None:
    """Check how the preprocessor makes the images of a training batch equally large."""
    preprocessor = cfg.model.get("data_preprocessor") or {}
    if type_name(preprocessor) != "SegDataPreProcessor":
        return
    key = "model.data_preprocessor"
    size, divisor = preprocessor.get("size"), preprocessor.get("size_divisor")
    crop = _crop_size(cfg.train_dataloader.dataset)
    wanted = f"{crop}, the crop_size of RandomCrop" if crop else "(height, width) of the crops"
    if (size is None) == (divisor is None):
        raise InputError(
            f"{key} must have either size or size_divisor to train, got size={size} and "
            f"size_divisor={divisor}; set {key}.size={wanted}."
        )
    if size is not None and (isinstance(size, int) or tuple(size) != (crop or tuple(size))):
        raise InputError(
            f"{key}.size must be the size of the crops that train_dataloader makes, got {size}; "
            f"set {key}.size={wanted}."
        )
    padding = preprocessor.get("seg_pad_val", 255)
    for name in ("decode_head", "auxiliary_head"):
        for head in parts(cfg.model.get(name)):
            ignored = head.get("ignore_index", 255)
            if ignored != padding:
                raise InputError(
                    f"{key}.seg_pad_val={padding}, with which labels are padded, must be the "
                    f"ignore_index={ignored} of model.{name}; set {key}.seg_pad_val={ignored}."
                )


def _crop_size(dataset_cfg: dict) -> tuple[int, int] | None:
    """Size of the crops that leave the training pipeline, None where something else sets it."""
    for dataset in innermost_datasets(dataset_cfg):
        for step in reversed([*_steps(dataset.get("pipeline") or ())]):
            if type_name(step) == "RandomCrop":
                crop = step.get("crop_size", ())
                return (crop, crop) if isinstance(crop, int) else tuple(crop) or None
            if type_name(step) in RESIZES:
                return None
    return None
