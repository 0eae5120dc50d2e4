import numpy as np

from benchmarks.specks import count_specks


def test_counts_small_components_of_every_label() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[2:5, 2:5] = 1  # 9 pixels
    labels[10:12, 10:15] = 1  # 10 pixels
    labels[15, 0], labels[16, 1] = 2, 2  # one component, by the corner
    labels[18, 18] = 255
    assert count_specks(labels) == 2
