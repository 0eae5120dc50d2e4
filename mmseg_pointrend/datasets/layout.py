"""Where the files of a data set lie, and what is missing."""

import os
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..config import misspelled_names, parts, takes, type_name
from ..errors import InputError

LAYOUTS = "https://mmsegmentation.readthedocs.io/en/latest/user_guides/2_dataset_prepare.html"


def innermost_datasets(dataset_cfg: dict) -> Iterator[dict]:
    """Configs of the data sets inside of wrappers such as ``RepeatDataset``."""
    nested = dataset_cfg.get("datasets", dataset_cfg.get("dataset"))
    if nested is None:
        yield dataset_cfg
    for part in parts(nested):
        yield from innermost_datasets(part)


def dataset_settings(dataset_cfg: dict) -> dict:
    """A data set's config with the defaults of its class, as far as the class itself has them."""
    parameters = signature(_dataset_class(dataset_cfg)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {**defaults, **dataset_cfg}


def list_files(dataset_cfg: dict) -> list[tuple[str, str | None]]:
    """List the image and label file of each sample of a data set; none if that is of another kind
    than MMSegmentation's, or not on the disk. An InputError if a folder, all images or a file is
    missing, or the labels are polygons."""
    name, kind = type_name(dataset_cfg), _dataset_class(dataset_cfg)
    if not issubclass(kind, BaseSegDataset):
        return []
    _refuse_polygons(dataset_cfg)
    # MMEngine cannot serialize an empty list.
    as_it_is = {"serialize_data": False} if takes(kind, "serialize_data") else {}
    try:
        with misspelled_names():
            dataset = DATASETS.build({**dataset_cfg, "pipeline": [], **as_it_is})
        samples = [dataset.get_data_info(index) for index in range(len(dataset))]
    except (OSError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name} finds no files in {os.getcwd()} ({reason}). Folders of public data sets: "
            f"{LAYOUTS}."
        ) from error
    folder = dataset.data_prefix.get("img_path")
    if folder and not samples:
        raise InputError(
            f"{name}: no image {dataset.img_suffix} in {folder}; set img_suffix to how yours end."
        )
    if dataset.backend_args or any("://" in sample["img_path"] for sample in samples):
        return []
    files = [(sample["img_path"], sample.get("seg_map_path")) for sample in samples]
    if missing := [path for pair in files for path in pair if path and not os.path.exists(path)]:
        raise InputError(
            f"{name}: {len(missing)} files are missing, the first is {missing[0]}. Check "
            f"img_suffix={dataset.img_suffix!r}, seg_map_suffix={dataset.seg_map_suffix!r} and "
            "ann_file, whose lines are names without them."
        )
    return files


def _dataset_class(dataset_cfg: dict) -> type:
    kind = dataset_cfg["type"]
    return (DATASETS.get(kind) if isinstance(kind, str) else kind) or BaseDataset


def _refuse_polygons(dataset_cfg: dict) -> None:
    files = {
        "ann_file": dataset_cfg.get("ann_file") or "",  # a .txt is a list of names
        "seg_map_suffix": f"x{dataset_settings(dataset_cfg).get('seg_map_suffix')}",
    }
    for setting, file in files.items():
        if file.lower().endswith((".json", ".xml")):
            raise InputError(
                f"{setting} names polygons ({Path(file).suffix}); MMSegmentation reads label maps, "
                "and as ann_file a text file with a name a line. Draw the polygons into 8-bit PNG "
                "files of class indices first (COCO: pycocotools, COCO.annToMask; labelme: "
                "labelme_export_json), set seg_map_path to their folder and leave ann_file out."
            )
