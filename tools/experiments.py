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


def _predict(name: str, key: str, value: object) -> Experiment:
    """DeepLabV3 with PointRend, trained as ever, with another renderer setting."""
    return Experiment(name, f"{DEEPLAB}.py", {f"{RENDERER}.{key}": value}, weights_of=DEEPLAB)


EXPERIMENTS = [
    Experiment("deeplabv3_r18_camvid", "deeplabv3_r18_camvid.py"),
    Experiment(DEEPLAB, f"{DEEPLAB}.py"),
    Experiment("fpn_r18_camvid", "fpn_r18_camvid.py"),
    Experiment("pointrend_r18_camvid", "pointrend_r18_camvid.py"),
    # What prediction alone can change. A 360x480 image has 660 stride-16 cells.
    *(_predict(f"points_{n}", "subdivision_num_points", n) for n in (165, 1320, 2640, 5280, 10560)),
    *(_predict(f"steps_{n}", "subdivision_steps", n) for n in (0, 1, 2, 3)),
    *(_predict(f"min_margin_{m}", "min_margin", m) for m in (1, 2, 4)),
    _predict("rendered_by_prob_margin", "uncertainty", "prob_margin"),
    # How the training points are chosen.
    Experiment(
        "uniform_points",
        f"{DEEPLAB}.py",
        {f"{SAMPLER}.oversample_ratio": 1, f"{SAMPLER}.importance_sample_ratio": 0},
    ),
    Experiment(
        "only_uncertain_points",
        f"{DEEPLAB}.py",
        {f"{SAMPLER}.oversample_ratio": 10, f"{SAMPLER}.importance_sample_ratio": 1},
    ),
    Experiment("sampler_border", f"{DEEPLAB}.py", {f"{SAMPLER}.padding_mode": "border"}),
    Experiment(
        "sampler_border_points_1320",
        f"{DEEPLAB}.py",
        {f"{RENDERER}.subdivision_num_points": 1320},
        weights_of="sampler_border",
    ),
    Experiment("detached_coarse", f"{DEEPLAB}.py", {"model.decode_head.detach_coarse": True}),
    Experiment("train_points_1280", f"{DEEPLAB}.py", {f"{SAMPLER}.num_points": 1280}),
    Experiment(
        "prob_margin",
        f"{DEEPLAB}.py",
        {f"{SAMPLER}.uncertainty": "prob_margin", f"{RENDERER}.uncertainty": "prob_margin"},
    ),
    Experiment(
        "two_fine_levels",
        f"{DEEPLAB}.py",
        {"model.decode_head.in_index": [0, 1], "model.decode_head.in_channels": [64, 128]},
    ),
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
