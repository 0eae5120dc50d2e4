"""Put PointRend on a trained model: tools/retrofit.py CONFIG CHECKPOINT --out NEW.py"""

import argparse

from rich.console import Console
from rich.table import Table

from mmseg_pointrend.engine.quiet import ignore_known_warnings
from mmseg_pointrend.engine.retrofit import write_recipe
from mmseg_pointrend.errors import one_line_errors
from mmseg_pointrend.options import add_trust_option


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
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    ignore_known_warnings()
    args = parse_args()
    with one_line_errors():
        levels, chosen = write_recipe(
            args.config, args.checkpoint, args.out, args.iters, trust=args.trust_checkpoint
        )
    table = Table("in_index", "in_channels", "stride", "", title="Features of the model")
    for level in levels:
        table.add_row(*map(str, level), "fine features" if level is chosen else "")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(f"Wrote {args.out}; train the point head:\n    tools/train.py {args.out}")


if __name__ == "__main__":
    main()
