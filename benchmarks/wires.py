"""Thin structures in one channel: wires drawn over CamVid's photos; the experiments on them.

    python -m benchmarks.wires

The first call draws the data. Wires are 2 to 7 pixels wide, smooth curves across the image in
colors that the photo has as well; the photo's own wires and poles are background.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from benchmarks.camvid import FOUR_STEPS, HEAD, PUBLISHED, ROOT, add_options, run_all
from benchmarks.experiments import Experiment

CELLS = 4  # of a pixel's side, that coverage is drawn in
# Half the crops of CamVid's recipes, a bit smaller: minutes on one CPU core.
BATCH_SIZE, CROP = 4, (192, 256)
LOSS = dict(type="CrossEntropyLoss", use_sigmoid=True)
SETTINGS = dict(num_classes=2, out_channels=1, loss_decode=LOSS)


def draw_wires(photo: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one to three wires over a photo.

    Args:
        photo (np.ndarray): BGR image, (H, W, 3), uint8.
        rng (np.random.Generator): Where shapes and colors come from.

    Returns:
        tuple[np.ndarray, np.ndarray]: The image, (H, W, 3), and its labels, (H, W), 1 on pixels
        that wires cover by half or more; both uint8.
    """
    height, width = photo.shape[:2]
    image, labels = photo.astype(np.float32), np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        along = np.linspace(-0.1, 1.1, 60)
        waves = np.zeros(60)
        for k in (1, 2, 4):
            waves += rng.normal(0, 0.15 / k) * np.sin(k * np.pi * along + rng.uniform(0, 6))
        curve = np.stack((along, rng.uniform(0.1, 0.9) + waves), axis=1)
        curve = (curve[:, ::-1] if rng.random() < 0.5 else curve) * (width, height)
        mask = np.zeros((height * CELLS, width * CELLS), np.float32)
        thickness = round(rng.uniform(2, 7) * CELLS)
        cv2.polylines(mask, [np.rint(curve * CELLS).astype(np.int32)], False, 1, thickness)
        coverage = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
        color = photo[rng.integers(height), rng.integers(width)] + rng.normal(0, 15, 3)
        shade = color + rng.normal(0, 8, (height, width, 1))
        image += (coverage * rng.uniform(0.7, 1))[..., None] * (shade - image)
        labels |= (coverage >= 0.5).astype(np.uint8)
    return np.clip(image, 0, 255).astype(np.uint8), labels


def write_data(photos: Path, folder: Path) -> None:
    """Draw wires over every other photo of ``photos/images/{train,val}``, into a folder of that
    layout."""
    for part in ("train", "val"):
        images, annotations = folder / "images" / part, folder / "annotations" / part
        for target in (images, annotations):
            target.mkdir(parents=True, exist_ok=True)
        for index, path in enumerate(sorted((photos / "images" / part).glob("*.jpg"))[::2]):
            rng = np.random.default_rng([part == "val", index])
            image, labels = draw_wires(cv2.imread(str(path)), rng)
            cv2.imwrite(str(images / path.name), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            cv2.imwrite(str(annotations / f"{path.stem}.png"), labels)


def experiments(folder: Path) -> list[Experiment]:
    """A coarse model of stride 16, and point heads on top of it."""
    data = dict(
        type="BaseSegDataset",
        data_root=str(folder.resolve()),
        img_suffix=".jpg",
        seg_map_suffix=".png",
        metainfo=dict(classes=("background", "wire"), palette=[[0, 0, 0], [255, 255, 255]]),
    )
    options = {
        f"{loader}_dataloader.dataset.{key}": value
        for loader in ("train", "val", "test")
        for key, value in data.items()
    }
    options["train_dataloader.batch_size"] = BATCH_SIZE
    options["train_dataloader.dataset.pipeline.3.crop_size"] = CROP
    options["model.data_preprocessor.size"] = CROP
    options |= {f"{part}_evaluator.1.dilation": 1 for part in ("val", "test")}
    options |= {f"{HEAD}.{key}": value for key, value in SETTINGS.items()}
    ours = options | {f"{HEAD}.coarse_head.{key}": value for key, value in SETTINGS.items()}
    ours |= _steps(200)
    config = "retrofit/retrofit_aspp_lite0_camvid.py"
    return [
        Experiment("wires_coarse", "aspp_lite0_camvid.py", options | _steps(300)),
        Experiment("wires_published", config, PUBLISHED | ours, start_from="wires_coarse"),
        Experiment("wires_ours", config, ours, start_from="wires_coarse"),
        Experiment("wires_ours_steps_4", config, ours | FOUR_STEPS, weights_of="wires_ours"),
    ]


def _steps(number: int) -> dict[str, int]:
    keys = ("train_cfg.max_iters", "train_cfg.val_interval", "param_scheduler.1.end")
    return dict.fromkeys(keys, number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, default=ROOT / "data/camvid", help="CamVid")
    parser.add_argument("--data", type=Path, default=Path("data/wires"), help="what is drawn")
    add_options(parser)
    args = parser.parse_args()
    if not args.data.exists():
        write_data(args.photos, args.data)
    run_all(experiments(args.data), args)


if __name__ == "__main__":
    main()
