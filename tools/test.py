"""Test a segmentor: tools/test.py CONFIG CHECKPOINT [--out DIR] [--show-dir DIR] [--tta] ..."""

import argparse
import os

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    # Threads that spin for long slow down a busy machine: docs/performance.md
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="1000")

from mmseg_pointrend.config import (
    add_checkpoint_options,
    add_config_options,
    load_config,
)
from mmseg_pointrend.engine.testing import run_test
from mmseg_pointrend.errors import InputError, ignore_known_warnings, one_line_errors
from mmseg_pointrend.report.hook import ReportHook


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Test a segmentor.")
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder for the predicted label maps (PNG), as IoUMetric writes them: with "
        "reduce_zero_label, as in ADE20K, the class plus one",
    )
    parser.add_argument("--show-dir", metavar="DIR", help="folder for painted images")
    parser.add_argument(
        "--report", metavar="DIR", help="folder for a report to look at in a browser"
    )
    parser.add_argument(
        "--report-images", type=int, default=100, metavar="N", help="images in it (default: 100)"
    )
    parser.add_argument(
        "--against",
        metavar="PREDICTIONS",
        help="folder that --out wrote with another model, for the report to compare with",
    )
    parser.add_argument("--tta", action="store_true", help="test-time augmentation")
    parser.add_argument(
        "--logits",
        action="store_true",
        help="keep the segmentor of the config, which computes full-size logits, instead of asking "
        "it for labels",
    )
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="float32", help="type to predict in"
    )
    parser.add_argument(
        "--channels-last", action="store_true", help="use channels_last memory format"
    )
    add_checkpoint_options(parser)
    add_config_options(parser)
    args = parser.parse_args()
    if args.against and not args.report:
        parser.error("--against needs --report")
    return args


def main() -> None:
    ignore_known_warnings()
    args = parse_args()
    with one_line_errors():
        report = None
        if args.report is not None:
            if args.tta or args.launcher != "none":
                raise InputError(
                    "--report compares single predictions of one process; leave out --tta and "
                    "--launcher."
                )
            report = ReportHook(args.report, args.report_images, args.against)
        run_test(
            load_config(args),
            args.checkpoint,
            out=args.out,
            show_dir=args.show_dir,
            tta=args.tta,
            logits=args.logits,
            dtype=args.dtype,
            channels_last=args.channels_last,
            allow_partial=args.allow_partial,
            trust=args.trust_checkpoint,
            report=report,
        )


if __name__ == "__main__":
    main()
