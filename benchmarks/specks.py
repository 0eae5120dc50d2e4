"""Count the specks of label maps: connected components of fewer than 10 pixels.

    python -m benchmarks.specks FOLDER [FOLDER ...]

Each folder holds PNG files of class indices, as ``tools/test.py --out`` writes them, or the truth.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

SMALL = 10
IGNORED = 255


def count_specks(labels: np.ndarray, ignore_index: int = IGNORED) -> int:
    """Number of 8-connected components of one label with fewer than 10 pixels.

    Args:
        labels (np.ndarray): Class indices, (H, W), uint8.
        ignore_index (int): Label whose components are not counted. Defaults to 255.
    """
    specks = 0
    for label in np.unique(labels[labels != ignore_index]):
        mask = (labels == label).astype(np.uint8)
        statistics = cv2.connectedComponentsWithStats(mask, connectivity=8)[2]
        specks += int((statistics[1:, cv2.CC_STAT_AREA] < SMALL).sum())
    return specks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders of label maps (PNG)")
    parser.add_argument("--ignore", type=int, default=IGNORED, help="label to leave out")
    args = parser.parse_args()
    for folder in args.folders:
        maps = [
            cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(folder.glob("*.png"))
        ]
        counts = [count_specks(labels, args.ignore) for labels in maps]
        print(f"{folder}: {np.mean(counts):.1f} an image, {len(counts)} images")


if __name__ == "__main__":
    main()
