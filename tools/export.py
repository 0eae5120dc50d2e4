"""Export a trained model.

tools/export.py CONFIG CHECKPOINT --format onnx|pt2 --out FILE [--logits] [--verify IMAGE...]
"""

import argparse
import sys

from mmseg_pointrend.command_line import add_override_option, read_config
from mmseg_pointrend.engine.quiet import ignore_known_warnings
from mmseg_pointrend.errors import one_line_errors
from mmseg_pointrend.export import FORMATS, export_model, verify
from mmseg_pointrend.options import add_partial_option, add_trust_option


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write a trained model as one file that runs without this package, from RGB "
        "pixels to labels."
    )
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write")
    parser.add_argument("--format", choices=FORMATS, default="onnx")
    parser.add_argument("--logits", action="store_true", help="give the logits beside the labels")
    parser.add_argument(
        "--verify",
        nargs="+",
        default=[],
        metavar="IMAGE",
        help="run the file beside PyTorch on these images, each at four sizes",
    )
    add_partial_option(parser)
    add_trust_option(parser)
    add_override_option(parser)
    return parser.parse_args()


def main() -> None:
    ignore_known_warnings()
    args = parse_args()
    with one_line_errors():
        exported = export_model(
            read_config(args.config, args.cfg_options),
            args.checkpoint,
            args.out,
            format=args.format,
            logits=args.logits,
            allow_partial=args.allow_partial,
            trust=args.trust_checkpoint,
        )
        for warning in exported.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(f"{exported.path}: {exported.path.stat().st_size / 2**20:.1f} MiB")
        if args.verify:
            verify(exported, args.verify)


if __name__ == "__main__":
    main()
