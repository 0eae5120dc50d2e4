"""Run the experiments of docs/results.md on CamVid; what is done already is skipped."""

import argparse
import json
from pathlib import Path

from mmseg_pointrend.command_line import one_line_errors
from mmseg_pointrend.experiments import Experiment, markdown_table, run_experiment

ROOT = Path(__file__).resolve().parent.parent
SAMPLER = "model.decode_head.point_sampler"
RENDERER = "model.decode_head.renderer"
DEEPLAB = "pointrend_deeplabv3_r18_camvid"


# What the paper and MMSegmentation do, and our recipes for CamVid do not: see docs/results.md. A
# 360x480 image has 660 stride-16 cells.
AS_PUBLISHED = {f"{SAMPLER}.padding_mode": "zeros", f"{RENDERER}.subdivision_num_points": None}


def _train(name: str, **options: object) -> Experiment:
    """DeepLabV3 with PointRend as published, with some of the head's settings changed."""
    changed = {f"model.decode_head.{key.replace('__', '.')}": v for key, v in options.items()}
    return Experiment(name, f"{DEEPLAB}.py", {**AS_PUBLISHED, **changed})


def _predict(name: str, key: str, value: object, weights_of: str = "as_published") -> Experiment:
    """The weights of another experiment, rendered with another setting."""
    options = {**AS_PUBLISHED, f"{RENDERER}.{key}": value}
    return Experiment(name, f"{DEEPLAB}.py", options, weights_of)


EXPERIMENTS = [
    Experiment("deeplabv3_r18_camvid", "deeplabv3_r18_camvid.py"),
    Experiment(DEEPLAB, f"{DEEPLAB}.py"),
    Experiment("fpn_r18_camvid", "fpn_r18_camvid.py"),
    Experiment("pointrend_r18_camvid", "pointrend_r18_camvid.py"),
    _train("as_published"),
    # What prediction alone can change.
    *(_predict(f"points_{n}", "subdivision_num_points", n) for n in (165, 1320, 2640, 5280, 10560)),
    *(_predict(f"steps_{n}", "subdivision_steps", n) for n in (0, 1, 2, 3)),
    *(_predict(f"min_margin_{m}", "min_margin", m) for m in (1, 2, 4)),
    _predict("rendered_by_prob_margin", "uncertainty", "prob_margin"),
    # How the training points are chosen, and what they teach.
    _train("sampler_border", point_sampler__padding_mode="border"),
    _predict("sampler_border_points_1320", "subdivision_num_points", 1320, "sampler_border"),
    _train("detached_coarse", detach_coarse=True),
    _train(
        "uniform_points",
        point_sampler__oversample_ratio=1,
        point_sampler__importance_sample_ratio=0,
    ),
    _train(
        "only_uncertain_points",
        point_sampler__oversample_ratio=10,
        point_sampler__importance_sample_ratio=1,
    ),
    _train("train_points_1280", point_sampler__num_points=1280),
    _train(
        "prob_margin",
        point_sampler__uncertainty="prob_margin",
        renderer__uncertainty="prob_margin",
    ),
    _train("two_fine_levels", in_index=[0, 1], in_channels=[64, 128]),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="experiments to run; by default all, in order")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/experiments"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--amp", action="store_true", help="train in mixed precision, in channels_last"
    )
    parser.add_argument("--list", action="store_true", help="only name the experiments")
    args = parser.parse_args()
    known = {experiment.name: experiment for experiment in EXPERIMENTS}
    if unknown := set(args.names) - known.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    if args.list:
        print("\n".join(known))
        return
    with one_line_errors():
        for name in args.names or known:
            for seed in args.seeds:
                run_experiment(
                    known[name],
                    seed,
                    args.out,
                    ROOT / "configs",
                    ROOT / "tools/train.py",
                    args.amp,
                )
    print(markdown_table((name, _results(args.out / name)) for name in known))


def _results(folder: Path) -> list[dict[str, float]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("seed_*/metrics.json"))]


if __name__ == "__main__":
    main()
