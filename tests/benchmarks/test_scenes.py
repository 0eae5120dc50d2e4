from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks.scenes import IGNORED, coarse_logits, label_map
from mmseg_pointrend import top2_margin
from mmseg_pointrend.errors import InputError


def test_the_same_scene_at_twice_the_size() -> None:
    small, large = label_map((128, 256)), label_map((256, 512))
    assert len(np.unique(small)) > 2
    assert (large[1::2, 1::2] == small).mean() > 0.9


def test_logits_are_sure_of_the_labels_but_at_boundaries() -> None:
    labels = label_map((256, 512))
    logits = coarse_logits(labels, classes=19)
    assert logits.shape == (1, 19, 64, 128)
    upsampled = F.interpolate(logits, size=labels.shape, mode="bilinear").argmax(dim=1)[0]
    assert (upsampled.numpy() == labels).mean() > 0.9
    boundary = torch.zeros(64, 128, dtype=torch.bool)
    cells = torch.from_numpy(labels[::4, ::4].astype(int))
    boundary[:, 1:] |= cells[:, 1:] != cells[:, :-1]
    boundary[1:] |= cells[1:] != cells[:-1]
    margin = top2_margin(logits)[0]
    assert margin[boundary].median() < 0.6 * margin[~boundary].median()


def test_annotations_are_read_and_what_is_ignored_belongs_to_no_class(tmp_path: Path) -> None:
    labels = np.zeros((32, 64), np.uint8)
    labels[:, 20:] = 7
    labels[:8] = IGNORED
    cv2.imwrite(str(tmp_path / "a.png"), labels)
    np.testing.assert_array_equal(label_map((32, 64), str(tmp_path)), labels)
    logits = coarse_logits(labels, classes=5)  # 7 wraps around to 2
    assert logits[0, :, 4:].argmax(dim=0).unique().tolist() == [0, 2]


def test_a_photograph_is_no_label_image(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match=r"a\.png is no label image"):
        label_map((4, 4), str(tmp_path))
