"""CamVid: street scenes with eleven classes."""

from collections.abc import Sequence
from typing import Any

from mmengine import fileio
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .layout import check_folders, missing_files, no_images

COLORS = {
    "sky": [128, 128, 128],
    "building": [128, 0, 0],
    "pole": [192, 192, 128],
    "road": [128, 64, 128],
    "pavement": [60, 40, 222],
    "tree": [128, 128, 0],
    "sign": [192, 128, 128],
    "fence": [64, 64, 128],
    "car": [64, 0, 128],
    "pedestrian": [64, 64, 0],
    "bicyclist": [0, 128, 192],
}
VOID = 11
IGNORED = 255


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid with the eleven classes of SegNet.

    Images are ``images/{train,val}/NAME.jpg``, labels ``annotations/{train,val}/NAME.png``, 8-bit
    class indices. Index 11 is void and becomes 255, which MMSegmentation's losses and metrics
    ignore; other values outside the classes stay as they are, to be noticed.

    Args:
        img_suffix (str): Ending of the images. Defaults to '.jpg'.
        seg_map_suffix (str): Ending of the labels. Defaults to '.png'.
        **kwargs: Arguments of :class:`mmseg.datasets.BaseSegDataset`. A ``data_prefix`` without
            ``seg_map_path`` makes a data set without labels.

    Raises:
        InputError: A folder is missing or holds no images, or an image has no label file. Raised
            when the list of files is read, which ``lazy_init=True`` postpones.
    """

    METAINFO = dict(classes=tuple(COLORS), palette=list(COLORS.values()))

    def __init__(
        self, img_suffix: str = ".jpg", seg_map_suffix: str = ".png", **kwargs: Any
    ) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """Map the values of the label files to classes.

        Args:
            new_classes (Sequence[str], optional): Some of the classes, in any order. Defaults to
                None, which keeps all.

        Returns:
            dict[int, int]: New value for each old value that changes; void is one of them.
        """
        return {**(super().get_label_map(new_classes) or {}), VOID: IGNORED}

    def load_data_list(self) -> list[dict]:
        """List the images and their labels.

        Returns:
            list[dict]: Paths and label map of each image, sorted by path.

        Raises:
            InputError: A folder, all images or a label file is missing.
        """
        name = type(self).__name__
        if self.backend_args is None:
            check_folders(name, self.data_prefix.values(), self.ann_file)
        data_list = super().load_data_list()
        if not data_list:
            raise no_images(name, self.img_suffix, self.data_prefix["img_path"])
        paths = [
            info[key] for info in data_list for key in ("img_path", "seg_map_path") if key in info
        ]
        missing = [path for path in paths if not fileio.exists(path, self.backend_args)]
        if missing:
            raise missing_files(name, missing)
        return data_list
