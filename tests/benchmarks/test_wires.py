from pathlib import Path

import cv2
import numpy as np

from benchmarks.wires import draw_wires, experiments, write_data


def test_wires_are_thin_and_seen() -> None:
    photo = np.full((60, 80, 3), 128, np.uint8)
    image, labels = draw_wires(photo, np.random.default_rng(0))
    assert image.shape == photo.shape
    assert labels.shape == (60, 80)
    assert image.dtype == labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1}
    assert np.any(image[labels == 1] != 128)


def test_writes_pairs_and_names_them_in_experiments(tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / "photos/images" / part).mkdir(parents=True)
        photo = np.full((40, 50, 3), 90, np.uint8)
        cv2.imwrite(str(tmp_path / "photos/images" / part / "a.jpg"), photo)
    write_data(tmp_path / "photos", tmp_path / "wires")
    for part in ("train", "val"):
        assert cv2.imread(str(tmp_path / "wires/images" / part / "a.jpg")).shape == (40, 50, 3)
        labels = cv2.imread(str(tmp_path / "wires/annotations" / part / "a.png"), -1)
        assert set(np.unique(labels)) == {0, 1}
    for experiment in experiments(tmp_path / "wires"):
        root = experiment.options["val_dataloader.dataset.data_root"]
        assert root == str(tmp_path / "wires")
