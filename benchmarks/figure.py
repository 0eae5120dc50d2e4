"""Draw the labels of several models side by side, and a window of them enlarged.

    python -m benchmarks.figure OUT.jpg IMAGE --window LEFT TOP WIDTH HEIGHT \\
        --model TITLE CONFIG CHECKPOINT [KEY=VALUE ...] --model ... [--truth LABELS.png]
"""

import argparse
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from mmseg_pointrend import PointRendInferencer
from mmseg_pointrend.errors import one_line_errors
from mmseg_pointrend.inference.images import overlay

IGNORED = 255


def draw(
    image: np.ndarray,
    columns: dict[str, np.ndarray],
    palette: list[list[int]],
    window: tuple[int, int, int, int],
) -> plt.Figure:
    """Draw a figure with a column for each label map.

    Args:
        image (np.ndarray): BGR image, (H, W, 3), uint8.
        columns (dict[str, np.ndarray]): Title and labels, (H, W), of each column; labels of 255 are
            not painted.
        palette (list[list[int]]): RGB color of each class.
        window (tuple[int, int, int, int]): Left, top, width and height of what the second row
            enlarges, in pixels.
    """
    left, top, width, height = window
    part = slice(top, top + height), slice(left, left + width)
    figure, axes = plt.subplots(2, len(columns), figsize=(3.4 * len(columns), 5.2), squeeze=False)
    for (title, labels), (whole, zoomed) in zip(columns.items(), axes.T, strict=True):
        painted = cv2.cvtColor(overlay(image, labels, palette), cv2.COLOR_BGR2RGB)
        whole.set_title(title, fontsize=11)
        whole.imshow(painted)
        whole.add_patch(Rectangle((left, top), width, height, fill=False, color="white", lw=1.5))
        zoomed.imshow(painted[part], interpolation="nearest")
        for axis in (whole, zoomed):
            axis.set_axis_off()
    figure.tight_layout(pad=0.3)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="picture to write, .jpg or .png")
    parser.add_argument("image", help="image file")
    parser.add_argument(
        "--window", type=int, nargs=4, required=True, metavar=("LEFT", "TOP", "WIDTH", "HEIGHT")
    )
    parser.add_argument(
        "--model",
        nargs="+",
        action="append",
        required=True,
        metavar="TITLE CONFIG CHECKPOINT [KEY=VALUE ...]",
        help="a column",
    )
    parser.add_argument("--truth", metavar="LABELS", help="label map of a last column")
    args = parser.parse_args()
    with one_line_errors():
        columns = {}
        for title, config, checkpoint, *settings in args.model:
            overrides = {}
            for setting in settings:
                key, _, value = setting.partition("=")
                overrides[key] = None if value == "None" else int(value)
            inferencer = PointRendInferencer(config, checkpoint, overrides=overrides)
            columns[title] = inferencer([args.image])[0].labels
        image = cv2.imread(args.image)
        if args.truth:
            truth = cv2.imread(args.truth, cv2.IMREAD_UNCHANGED).astype(np.int64)
            columns["Truth"] = np.where(truth < len(inferencer.classes), truth, IGNORED)
        figure = draw(image, columns, inferencer.palette, tuple(args.window))
        figure.savefig(args.out, dpi=110, pil_kwargs=dict(quality=88))


if __name__ == "__main__":
    main()
