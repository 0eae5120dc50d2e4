from pathlib import Path

import cv2
import numpy as np
import pytest

from mmseg_pointrend.datasets.checked_loading import LoadCheckedAnnotations


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (2, 3)])
def test_labels_of_any_size_keep_their_shape(size: tuple[int, int], tmp_path: Path) -> None:
    labels = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
    cv2.imwrite(str(tmp_path / "x.png"), labels)
    sample = dict(
        seg_map_path=str(tmp_path / "x.png"),
        img_path="x.jpg",
        ori_shape=size,
        seg_fields=[],
        label_map=None,
        reduce_zero_label=False,
    )
    loaded = LoadCheckedAnnotations().transform(sample)["gt_seg_map"]
    np.testing.assert_array_equal(loaded, labels)
    assert loaded.shape == size
