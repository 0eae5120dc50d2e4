"""Write a checkpoint in the layout of this package: tools/convert_checkpoint.py IN OUT"""

import argparse
import hashlib
import io
import os
from pathlib import Path

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    # Threads that spin for long slow down a busy machine: docs/performance.md
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="1000")

import torch

from mmseg_pointrend.checkpoints.fitting import Layout, read_checkpoint, to_own_layout
from mmseg_pointrend.config import add_trust_option
from mmseg_pointrend.errors import InputError, ignore_known_warnings, one_line_errors
from mmseg_pointrend.files import replacing


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write a checkpoint of MMSegmentation's PointRend or of a coarse model in the "
        "layout of this package, without the state of its training."
    )
    parser.add_argument("source", metavar="IN", help="checkpoint file to read")
    parser.add_argument(
        "target", metavar="OUT", help="checkpoint file to write; OUT.pth becomes OUT-SHA256.pth"
    )
    add_trust_option(parser)
    return parser.parse_args()


def convert(source: str, target: Path, trust: bool) -> tuple[Path, Layout]:
    """Write the weights of a checkpoint; returns the file written and the layout that was found."""
    checkpoint = read_checkpoint(source, trust)
    weights = {k.removeprefix("module."): v for k, v in checkpoint["state_dict"].items()}
    weights, layout = to_own_layout(weights)
    if layout is None:
        raise InputError(
            f"{source} has no weights of a decode head (decode_head.*): it is not the checkpoint "
            f"of a segmentor. Its first weights are {', '.join([*weights][:3])}."
        )
    buffer = io.BytesIO()  # in memory, as the name of the file depends on what is in it
    torch.save({"meta": checkpoint.get("meta", {}), "state_dict": weights}, buffer)
    # The first eight digits are in the name, as in OpenMMLab's model zoo.
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:8]
    path = target.with_name(f"{target.stem}-{digest}{target.suffix or '.pth'}")
    with replacing(path) as partial:
        partial.write_bytes(buffer.getvalue())
    return path, layout


def main() -> None:
    ignore_known_warnings()
    args = parse_args()
    with one_line_errors():
        path, layout = convert(args.source, Path(args.target), args.trust_checkpoint)
    print(path)
    if layout is Layout.COARSE:
        print("It has no point head: train one, with load_from set to it (docs/retrofit.md).")


if __name__ == "__main__":
    main()
