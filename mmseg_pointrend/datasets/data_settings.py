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


def check_data_settings(
    cfg: Config, loaders: Sequence[str] = ("train_dataloader", "val_dataloader")
) -> None:
    """Raise InputError if data, in the loaders that a run uses, cannot be read or would be read
    wrongly: files or a decoder are missing, files hold something else than images and class
    indices, settings of padding, sizes or ``reduce_zero_label`` disagree."""
    zero_labels: dict[str, dict[str, bool]] = {}
    for loader in loaders:
        if cfg.get(loader) is None:
            continue
        for dataset in innermost_datasets(cfg[loader].dataset):
            files, steps = list_files(dataset), [*_steps(dataset.get("pipeline") or ())]
            for step in steps:
                check_decoder(step)
            found = zero_labels.setdefault(type_name(dataset), {})
            found.update(_zero_labels(dataset, steps, loader))
            _check_files(files[:: max(1, len(files) // 20)][:20], steps)  # all take long
    for found in zero_labels.values():
        if len({*found.values()}) > 1:
            listed = " and ".join(f"{value} in {place}" for place, value in found.items())
            raise InputError(
                f"reduce_zero_label must have one value, got {listed}; set it in the data sets and "
                "leave it out of their pipelines."
            )
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


def _zero_labels(dataset: dict, steps: list[dict], loader: str) -> dict[str, bool]:
    """The values of ``reduce_zero_label`` of a data set and its transforms, by their place."""
    own = dataset_settings(dataset).get("reduce_zero_label", False)
    values = {f"{type_name(dataset)} of {loader}": own}
    for step in steps:
        if type_name(step) in LABEL_LOADERS and step.get("reduce_zero_label") is not None:
            values[f"{type_name(step)} of {loader}"] = step["reduce_zero_label"]
    return values


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
    is_unlike = isinstance(size, int) or (size and crop and tuple(size) != crop)
    if is_unlike or (size is None) == (divisor is None):
        raise InputError(
            f"{key} must have either a size_divisor or the size of the crops that train_dataloader "
            f"makes, got size={size} and size_divisor={divisor}; set {key}.size={wanted}."
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
    dataset = next(innermost_datasets(dataset_cfg))
    for step in reversed([*_steps(dataset.get("pipeline") or ())]):
        if type_name(step) in RESIZES:
            return None
        if type_name(step) == "RandomCrop":
            crop = step.get("crop_size", ())
            return (crop, crop) if isinstance(crop, int) else tuple(crop)
    return None
