"""Predict images and videos with a trained or an exported model.

tools/predict.py CONFIG CHECKPOINT INPUT... --out DIR [--show-points]
tools/predict.py MODEL [CHECKPOINT.pth] INPUT... --out DIR   (a model of the zoo, by its name)
tools/predict.py MODEL.onnx INPUT... --out DIR        (without PyTorch)
"""

import argparse
import os
import sys
from pathlib import Path

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    # Threads that spin for long slow down a busy machine: docs/performance.md
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="1000")

import cv2

from mmseg_pointrend.config import add_checkpoint_options, add_override_option
from mmseg_pointrend.errors import InputError, ignore_known_warnings, one_line_errors
from mmseg_pointrend.inference.inferencer import PointRendInferencer, is_exported
from mmseg_pointrend.inference.prediction import predict_files
from mmseg_pointrend.inference.tiling import Tiling


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write masks and overlays of images and videos.")
    parser.add_argument(
        "model",
        metavar="CONFIG | MODEL.onnx",
        help="config file or name of one, which may have published weights, or exported model",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="[CHECKPOINT] INPUT",
        help="images, videos, folders or globs; before them the checkpoint of a config",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--show-points", action="store_true", help="also draw the steps and their points"
    )
    parser.add_argument("--device", help="such as cpu or cuda:1; by default a GPU if there is one")
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="images predicted together"
    )
    parser.add_argument(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="predict images of any size in windows of this side, into tiled TIFF files",
    )
    parser.add_argument(
        "--overlap",
        type=int,
        default=256,
        metavar="PIXELS",
        help="what neighboring windows share (default: 256)",
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        default="float32",
        help="type to predict in",
    )
    parser.add_argument(
        "--channels-last", action="store_true", help="lay out features pixel by pixel"
    )
    add_checkpoint_options(parser)
    add_override_option(parser)
    return parser.parse_args()


def build_inferencer(args: argparse.Namespace) -> PointRendInferencer:
    """Build the model; takes the checkpoint from ``args.inputs`` if it needs one."""
    model, weights = args.model, None
    if not is_exported(model):
        # models of the zoo have weights of their own
        if Path(model).is_file() or Path(args.inputs[0]).suffix == ".pth":
            weights = args.inputs.pop(0)
        if not args.inputs:
            raise InputError(f"{model} {weights}: name the checkpoint and at least one image.")
    return PointRendInferencer(
        model,
        weights,
        device=args.device,
        dtype=args.dtype,
        channels_last=args.channels_last,
        allow_partial=args.allow_partial,
        trust_checkpoint=args.trust_checkpoint,
        overrides=args.cfg_options,
    )


def main() -> None:
    ignore_known_warnings()
    args = parse_args()
    # Of a broken file OpenCV says much; ours is one line that names it.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    with one_line_errors():
        if args.show_points and is_exported(args.model):
            raise InputError("--show-points needs a checkpoint; exported models tell no points.")
        tiling = None if args.tile is None else Tiling(args.tile, args.overlap)
        failures = predict_files(
            build_inferencer(args), args.inputs, args.out, args.show_points, args.batch_size, tiling
        )
    if failures:
        sys.exit(f"{len(failures)} of the images failed; see above.")


if __name__ == "__main__":
    main()
