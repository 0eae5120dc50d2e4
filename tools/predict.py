"""Predict images: tools/predict.py CONFIG CHECKPOINT INPUT... --out DIR [--show-points]"""

import argparse
import sys

from mmengine.config import DictAction

from mmseg_pointrend.command_line import one_line_errors, read_config
from mmseg_pointrend.inferencer import PointRendInferencer
from mmseg_pointrend.prediction import predict_files


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Predict images and write masks and overlays.")
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image files, folders or globs")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--show-points", action="store_true", help="also draw the steps and their points"
    )
    parser.add_argument("--device", help="such as cpu or cuda:1; by default a GPU if there is one")
    parser.add_argument(
        "--allow-partial",
        action="store_true",
        help="go on although the checkpoint lacks weights of the model",
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, default={}, metavar="KEY=VALUE"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        inferencer = PointRendInferencer(
            read_config(args.config, args.cfg_options),
            args.checkpoint,
            device=args.device,
            allow_partial=args.allow_partial,
        )
        failures = predict_files(inferencer, args.inputs, args.out, show_points=args.show_points)
    if failures:
        sys.exit(f"{len(failures)} of the images failed; see above.")


if __name__ == "__main__":
    main()
