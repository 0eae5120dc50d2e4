"""Write a checkpoint in the layout of this package: tools/convert_checkpoint.py IN OUT"""

import argparse

from mmseg_pointrend.checkpoints.conversion import convert_checkpoint
from mmseg_pointrend.checkpoints.layouts import Layout
from mmseg_pointrend.engine.quiet import ignore_known_warnings
from mmseg_pointrend.errors import one_line_errors
from mmseg_pointrend.options import add_trust_option


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


def main() -> None:
    ignore_known_warnings()
    args = parse_args()
    with one_line_errors():
        path, layout = convert_checkpoint(args.source, args.target, trust=args.trust_checkpoint)
    print(path)
    if layout is Layout.COARSE:
        print("It has no point head: train one, with load_from set to it (docs/retrofit.md).")


if __name__ == "__main__":
    main()
