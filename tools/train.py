"""Train a segmentor: tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] [--amp] ..."""

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
from mmseg_pointrend.engine.training import run_training
from mmseg_pointrend.errors import ignore_known_warnings, one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a segmentor.")
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="resume CHECKPOINT, or without a value the latest one in the work dir, if any",
    )
    parser.add_argument(
        "--amp", action="store_true", help="mixed precision: float16 on a GPU, bfloat16 on a CPU"
    )
    parser.add_argument(
        "--channels-last", action="store_true", help="use channels_last memory format"
    )
    add_checkpoint_options(parser)
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    ignore_known_warnings()
    args = parse_args()
    with one_line_errors():
        run_training(
            load_config(args),
            resume=args.resume,
            amp=args.amp,
            channels_last=args.channels_last,
            allow_partial=args.allow_partial,
            trust=args.trust_checkpoint,
        )


if __name__ == "__main__":
    main()
