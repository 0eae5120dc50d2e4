"""Export a trained model as an ONNX file.

tools/export.py CONFIG CHECKPOINT --out FILE [--size H W] [--logits] [--verify IMAGE...]
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    # Threads that spin for long slow down a busy machine: docs/performance.md
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="1000")

from mmseg_pointrend.config import (
    add_checkpoint_options,
    add_override_option,
    read_config,
)
from mmseg_pointrend.errors import ignore_known_warnings, one_line_errors
from mmseg_pointrend.export.onnx_file import export_model, verify

# Some models, as those with windows of fixed sizes, keep PyTorch busy with symbols for hours.
TIME_LIMIT = 240


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write a trained model as one ONNX file that runs without this package, from "
        "RGB pixels to labels."
    )
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="make a graph for images of this size alone, with nothing dynamic in it, as TensorRT "
        "and other compilers need it; default: any batch, height and width",
    )
    parser.add_argument("--logits", action="store_true", help="return the logits, too")
    parser.add_argument(
        "--verify",
        nargs="+",
        default=[],
        metavar="IMAGE",
        help="compare the file with PyTorch on these images, in ONNX Runtime and, where it is "
        "installed, in OpenVINO",
    )
    add_checkpoint_options(parser)
    add_override_option(parser)
    return parser.parse_args()


@contextmanager
def exit_after(seconds: int | None, message: str) -> Iterator[None]:
    """End the program with a message unless the block is done in time; None means no limit."""
    if seconds is None or not hasattr(signal, "SIGALRM"):  # Windows has no alarm
        yield
        return
    # SystemExit, since PyTorch catches every Exception here and there and goes on.
    previous = signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"error: {message}"))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def main() -> None:
    ignore_known_warnings()
    args = parse_args()
    with one_line_errors():
        cfg = read_config(args.config, args.cfg_options)
        size = args.size and tuple(args.size)
        too_long = (
            f"a graph for images of any size took more than {TIME_LIMIT // 60} minutes; name one "
            "size with --size H W."
        )
        with exit_after(None if size else TIME_LIMIT, too_long):
            exported = export_model(
                cfg,
                args.checkpoint,
                args.out,
                size=size,
                logits=args.logits,
                allow_partial=args.allow_partial,
                trust=args.trust_checkpoint,
            )
        print(f"{exported.path}: {exported.path.stat().st_size / 2**20:.1f} MiB")
        if args.verify:
            verify(exported, args.verify)


if __name__ == "__main__":
    main()
