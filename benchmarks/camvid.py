"""Run the experiments of docs/results.md on CamVid; what is done already is skipped."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.experiments import Experiment, markdown_table, run_experiment
from mmseg_pointrend.errors import one_line_errors

ROOT = Path(__file__).resolve().parent.parent
HEAD = "model.decode_head"
ASPP, FPN = "aspp_lite0_camvid", "fpn_lite0_camvid"
PADDING = "model.data_preprocessor.test_cfg"


def _steps(number: int) -> dict[str, int]:
    """A schedule of so many steps, validated at its end."""
    keys = ("train_cfg.max_iters", "train_cfg.val_interval", "param_scheduler.1.end")
    return dict.fromkeys(keys, number)


STEPS, LONGER = _steps(300), _steps(600)

# From PointRend as published to our recipe for the stride-16 model, a step at a time. A padded
# image has 720 stride-16 cells; all of these render 1320 points in each of four steps.
PUBLISHED = {
    **STEPS,
    "optim_wrapper.optimizer.lr": 1e-3,
    f"{HEAD}.in_index": 1,
    f"{HEAD}.in_channels": 24,
    f"{HEAD}.point_features.neighborhood": 1,
    f"{HEAD}.point_head.standardize": False,
    f"{HEAD}.point_sampler.num_points": None,
    f"{HEAD}.point_sampler.boundary_ratio": 0.0,
    f"{HEAD}.point_sampler.padding_mode": "zeros",
    f"{HEAD}.renderer.subdivision_steps": None,
    f"{HEAD}.renderer.subdivision_num_points": 1320,
}
HARDER = {
    "optim_wrapper.optimizer.lr": 4e-3,
    f"{HEAD}.point_sampler.num_points": 1280,
    f"{HEAD}.point_sampler.padding_mode": "border",
}
BOUNDARY = {f"{HEAD}.point_sampler.boundary_ratio": 0.5}
LEVELS = {f"{HEAD}.in_index": [0, 1, 2, 3], f"{HEAD}.in_channels": [16, 24, 40, 112]}
# The recipe's points in four steps instead of three.
FOUR_STEPS = {
    f"{HEAD}.renderer.subdivision_steps": None,
    f"{HEAD}.renderer.subdivision_num_points": 2640,
}
UNSCALED = {f"{HEAD}.point_head.standardize": False}
# The same of a Semantic FPN, whose finest level has stride 4; stride 2 comes from the backbone.
FPN_PUBLISHED = {**PUBLISHED, f"{HEAD}.in_channels": 64}
PYRAMID = {
    f"{HEAD}.in_index": [1, 2, 3],
    f"{HEAD}.in_channels": [64, 64, 64],
    f"{HEAD}.point_features.neighborhood": [3, 1, 1],
}


def _retrofit(name: str, coarse: str, *options: dict) -> Experiment:
    """300 steps of the point head alone."""
    merged = {key: value for part in options for key, value in part.items()}
    return Experiment(name, f"retrofit/retrofit_{coarse}.py", merged, start_from=coarse)


def _points(name: str, number: int, weights_of: str, options: dict | None = None) -> Experiment:
    """The stride-16 weights of another experiment, with so many points in each of four steps."""
    points = {**FOUR_STEPS, f"{HEAD}.renderer.subdivision_num_points": number}
    config = f"retrofit/retrofit_{ASPP}.py"
    return Experiment(name, config, {**points, **(options or {})}, weights_of=weights_of)


EXPERIMENTS = [
    Experiment(ASPP, f"{ASPP}.py"),
    Experiment("aspp_unpadded", f"{ASPP}.py", {PADDING: None}, weights_of=ASPP),
    _retrofit("aspp_published", ASPP, PUBLISHED),
    _retrofit("aspp_harder", ASPP, PUBLISHED, HARDER),
    _retrofit("aspp_boundary", ASPP, PUBLISHED, HARDER, BOUNDARY),
    _retrofit("aspp_levels", ASPP, PUBLISHED, HARDER, BOUNDARY, LEVELS),
    _retrofit("aspp_neighborhoods", ASPP, STEPS, FOUR_STEPS, UNSCALED),
    _points("aspp_neighborhoods_points_1320", 1320, "aspp_neighborhoods", UNSCALED),
    _retrofit("aspp_standardized", ASPP, STEPS, FOUR_STEPS),
    _points("aspp_standardized_points_5280", 5280, "aspp_standardized"),
    Experiment("aspp_ours_300", f"retrofit/retrofit_{ASPP}.py", weights_of="aspp_standardized"),
    Experiment("aspp_ours_1000", f"retrofit/retrofit_{ASPP}.py", start_from=ASPP),
    Experiment(FPN, f"{FPN}.py"),
    Experiment("fpn_unpadded", f"{FPN}.py", {PADDING: None}, weights_of=FPN),
    _retrofit("fpn_published", FPN, FPN_PUBLISHED),
    _retrofit("fpn_unscaled", FPN, STEPS, PYRAMID, UNSCALED),
    _retrofit("fpn_standardized", FPN, STEPS, PYRAMID),
    _retrofit("fpn_ours_300", FPN, STEPS),
    Experiment("fpn_ours_1000", f"retrofit/retrofit_{FPN}.py", start_from=FPN),
    # All of the model, from ImageNet weights.
    Experiment(f"pointrend_{ASPP}", f"pointrend_{ASPP}.py"),
    Experiment(f"pointrend_{FPN}", f"pointrend_{FPN}.py"),
    # Models on ResNet-18, from scratch.
    Experiment("deeplabv3_r18", "deeplabv3_r18_camvid.py", LONGER),
    Experiment(
        "deeplabv3_r18_unpadded",
        "deeplabv3_r18_camvid.py",
        {**LONGER, PADDING: None},
        weights_of="deeplabv3_r18",
    ),
    Experiment("fpn_r18", "fpn_r18_camvid.py", STEPS),
    Experiment(
        "fpn_r18_unpadded", "fpn_r18_camvid.py", {**STEPS, PADDING: None}, weights_of="fpn_r18"
    ),
]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of how experiments run."""
    parser.add_argument("names", nargs="*", help="experiments to run; by default all, in order")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("work_dirs/experiments"),
        help="folder of all experiments (default: %(default)s)",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run for each")
    parser.add_argument("--amp", action="store_true", help="train in mixed precision")
    parser.add_argument("--channels-last", action="store_true", help="train in channels_last")
    parser.add_argument("--list", action="store_true", help="only name the experiments")


def run_all(experiments: Sequence[Experiment], args: argparse.Namespace) -> None:
    """Run the experiments that ``args`` name and print the results of all."""
    known = {experiment.name: experiment for experiment in experiments}
    if unknown := set(args.names) - known.keys():
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    if args.list:
        print("\n".join(known))
        return
    # ends the training under way, too; the next call goes on with it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
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
                    args.channels_last,
                )
    print(markdown_table((name, read_results(args.out / name)) for name in known))


def read_results(folder: Path) -> list[dict[str, float]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("seed_*/metrics.json"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    run_all(EXPERIMENTS, parser.parse_args())


if __name__ == "__main__":
    main()
