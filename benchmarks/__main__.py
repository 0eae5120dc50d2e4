"""Measure time and memory: python -m benchmarks render|model|train [--against mmseg,dense] ..."""

import argparse
import json
from pathlib import Path

import torch

from benchmarks.measure import as_rows, print_table
from benchmarks.model import benchmark_model
from benchmarks.render import benchmark_render
from benchmarks.scenes import WORST_CASES
from benchmarks.train import benchmark_train
from mmseg_pointrend.config import read_config
from mmseg_pointrend.errors import one_line_errors

CONFIG = Path(__file__).parents[1] / "configs" / "pointrend_r50_cityscapes.py"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure time and memory against MMSegmentation, in turns in one process."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    render = commands.add_parser("render", help="from coarse logits to labels")
    render.add_argument("--classes", type=int, default=19)
    render.add_argument("--points", type=int, default=8192, help="points of each of two steps")
    render.add_argument("--annotations", metavar="DIR", help="label images; default: drawn shapes")
    render.add_argument(
        "--worst-case", choices=WORST_CASES, help="logits that leave nothing to save"
    )
    render.add_argument("--seed", type=int, default=0, help="which scene")
    render.add_argument(
        "--check", action="store_true", help="count labels unlike the dense way in float64"
    )
    model = commands.add_parser("model", help="from images to labels")
    model.add_argument("--checkpoint", help="weights; default: random ones")
    model.add_argument("--images", metavar="DIR", help="images to predict; default: drawn shapes")
    train = commands.add_parser("train", help="training steps")
    train.add_argument("--batch-size", type=int, default=2)

    for command in (render, model):
        command.add_argument("--height", type=int, default=1024)
        command.add_argument("--width", type=int, default=2048)
        command.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
        command.add_argument("--channels-last", action="store_true")
        command.add_argument(
            "--against",
            type=lambda names: names.split(","),
            default=["mmseg", "dense"],
            metavar="mmseg,dense",
            help="other sides; render also has mmseg-segmentor, with what segmentors do to logits, "
            "and doubled, ours at twice the height and width",
        )
    train.add_argument("--height", type=int, default=512)
    train.add_argument("--width", type=int, default=1024)
    for command in (model, train):
        command.add_argument("--config", default=CONFIG, help="default: %(default)s")
    for command in (render, model, train):
        command.add_argument("--device", default="cpu")
        command.add_argument("--threads", type=int, default=torch.get_num_threads())
        command.add_argument("--rounds", type=int, default=7, help="timed runs of each side")
        command.add_argument("--json", metavar="FILE", help="also write the figures there")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    size = (args.height, args.width)
    shared = dict(size=size, device=args.device, rounds=args.rounds)
    with one_line_errors():
        if args.command == "train":
            results = benchmark_train(
                read_config(args.config), batch_size=args.batch_size, **shared
            )
        else:
            shared.update(
                dtype=getattr(torch, args.dtype),
                channels_last=args.channels_last,
                against=args.against,
            )
        if args.command == "model":
            results = benchmark_model(
                read_config(args.config), args.checkpoint, images=args.images, **shared
            )
        if args.command == "render":
            results = benchmark_render(
                classes=args.classes,
                num_points=args.points,
                annotations=args.annotations,
                worst_case=args.worst_case,
                seed=args.seed,
                check=args.check,
                **shared,
            )
    rows = as_rows(results)
    print_table(f"{args.command}, {size[0]}×{size[1]}, {args.threads} threads", rows)
    if args.json:
        settings = {key: str(value) for key, value in vars(args).items()}
        Path(args.json).write_text(json.dumps({"settings": settings, "results": rows}, indent=2))


if __name__ == "__main__":
    main()
