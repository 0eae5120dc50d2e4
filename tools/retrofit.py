"""Put PointRend on a trained model: tools/retrofit.py CONFIG CHECKPOINT --out NEW.py"""

import argparse
import os

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    # Threads that spin for long slow down a busy machine: docs/performance.md
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="1000")

from rich.console import Console
from rich.table import Table

from mmseg_pointrend.config import add_trust_option
from mmseg_pointrend.engine.retrofit import write_recipe
from mmseg_pointrend.errors import ignore_known_warnings, one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write the config that turns a trained model into a PointRend model, of which "
        "only the point head trains."
    )
    parser.add_argument("config", help="config that the model was trained with")
    parser.add_argument("checkpoint", help="its checkpoint")
    parser.add_argument("--out", required=True, metavar="NEW.py", help="config file to write")
    parser.add_argument(
        "--iters", type=int, default=20000, help="iterations of training (default: 20000)"
    )
    parser.add_argument(
        "--no-check",
        dest="check",
        action="store_false",
        help="write the config without training a step and predicting an image first",
    )
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    ignore_known_warnings()
    args = parse_args()
    with one_line_errors():
        written = write_recipe(
            args.config,
            args.checkpoint,
            args.out,
            args.iters,
            args.check,
            args.trust_checkpoint,
        )
    table = Table("in_index", "in_channels", "stride", "", title="Features of the model")
    for level in written.levels:
        table.add_row(*map(str, level), "fine features" if level in written.chosen else "")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    if written.reads_image:
        console.print(
            "None has stride 4 or finer: a branch on the image adds levels of stride 2 and 4, and "
            "trains with the point head."
        )
    if written.differing:
        console.print(
            f"Before training, {100 * written.differing:.2f} % of the labels of a random image "
            "differ from the model's own: MMSegmentation upsamples masks, this upsamples logits."
        )
    console.print(f"Wrote {args.out}; train the point head:\n    tools/train.py {args.out}")


if __name__ == "__main__":
    main()
