"""Run the experiments of docs/results.md on CamVid; what is done already is skipped."""

import argparse
import json
import signal
import sys
from pathlib import Path

from benchmarks.experiments import Experiment, markdown_table, run_experiment
from mmseg_pointrend.errors import one_line_errors

ROOT = Path(__file__).resolve().parent.parent
HEAD = "model.decode_head"
SAMPLER = f"{HEAD}.point_sampler"
RENDERER = f"{HEAD}.renderer"
DEEPLAB, FPN = "deeplabv3_r18_camvid", "fpn_r18_camvid"
OURS = {DEEPLAB: "pointrend_deeplabv3_r18_camvid", FPN: "pointrend_r18_camvid"}
THEIRS = {DEEPLAB: "mmseg_deeplabv3_r18_camvid", FPN: "mmseg_r18_camvid"}


def _small(layer: str) -> dict:
    """Initialization of a last layer as FPNHead and PointHead have it by default."""
    override = dict(name=layer)
    return dict(_delete_=True, type="Normal", std=0.01, override=override)


# What our recipes for CamVid change: see docs/results.md. A 360x480 image has 660 stride-16 cells.
JOINT = {f"{HEAD}.detach_coarse": False}
DETACHED = {f"{HEAD}.detach_coarse": True}
FROM_RANDOM = {f"{HEAD}.point_head.init_cfg": None}
FROM_COARSE = {f"{HEAD}.point_head.init_cfg": dict(_delete_=True, type="CoarseIdentity")}
SMALL_COARSE = {f"{HEAD}.init_cfg": _small("conv_seg")}
SMALL = {
    **JOINT,
    f"{HEAD}.coarse_head.init_cfg": _small("conv_seg"),
    f"{HEAD}.point_head.init_cfg": _small("fc_seg"),
}
AS_PUBLISHED = {
    **SMALL,
    f"{SAMPLER}.padding_mode": "zeros",
    f"{RENDERER}.subdivision_num_points": 660,
}
LR_3 = {"optim_wrapper.paramwise_cfg.custom_keys.point_head.lr_mult": 3}
SHORT = {"train_cfg.max_iters": 300, "param_scheduler.1.end": 300}


def _mmseg(coarse: str, steps: int) -> Experiment:
    """MMSegmentation's PointHead, which goes to the image's size in so many steps."""
    rendering = dict(subdivision_steps=steps, subdivision_num_points=660)
    options = {f"model.test_cfg.{key}": value for key, value in rendering.items()}
    return Experiment(THEIRS[coarse], f"{OURS[coarse]}.py", options, as_mmseg=True)


def _render(name: str, options: dict, coarse: str = DEEPLAB) -> Experiment:
    """The weights of another experiment, rendered with 660 points or with what is given."""
    options = {"subdivision_num_points": 660, **options}
    renderer = {f"{RENDERER}.{key}": value for key, value in options.items()}
    config = OURS[coarse]
    return Experiment(name, f"{config}.py", renderer, weights_of=f"{config}_small_init")


def _go_on(name: str, options: dict) -> Experiment:
    """300 more steps of the coarse model, with PointRend as published or with what is given."""
    options = {**SHORT, **AS_PUBLISHED, **options}
    start = f"{DEEPLAB}_small_init"
    return Experiment(f"go_on_{name}", f"{OURS[DEEPLAB]}.py", options, start_from=start)


EXPERIMENTS = [
    # From scratch.
    *(Experiment(name, f"{name}.py") for pair in OURS.items() for name in pair),
    *(Experiment(f"{name}_small_init", f"{name}.py", SMALL_COARSE) for name in OURS),
    *(Experiment(f"{name}_small_init", f"{name}.py", SMALL) for name in OURS.values()),
    _mmseg(DEEPLAB, steps=4),
    _mmseg(FPN, steps=2),
    # How coarse head and point head are trained together.
    *(
        Experiment(f"{name}_joint", f"{name}.py", {**JOINT, **FROM_RANDOM})
        for name in OURS.values()
    ),
    Experiment(f"{OURS[DEEPLAB]}_detached", f"{OURS[DEEPLAB]}.py", FROM_RANDOM),
    Experiment(f"{OURS[DEEPLAB]}_from_coarse", f"{OURS[DEEPLAB]}.py", JOINT),
    # The schedule once more, from the weights that it led to.
    *(
        Experiment(f"{name}_longer", f"{name}.py", start_from=name)
        for pair in OURS.items()
        for name in pair
    ),
    *(
        Experiment(
            f"{name}_joint_longer",
            f"{name}.py",
            {**JOINT, **FROM_RANDOM},
            start_from=f"{name}_joint",
        )
        for name in OURS.values()
    ),
    # What prediction alone can change.
    _render("fpn_points_660", {}, FPN),
    _render("fpn_steps_0", {"subdivision_steps": 0}, FPN),
    *(
        _render(f"points_{n}", {"subdivision_num_points": n})
        for n in (165, 660, 1320, 2640, 5280, 10560)
    ),
    *(_render(f"steps_{n}", {"subdivision_steps": n}) for n in (0, 1, 2, 3)),
    *(_render(f"min_margin_{m}", {"min_margin": m}) for m in (1, 2, 4)),
    _render("rendered_by_prob_margin", {"uncertainty": "prob_margin"}),
    # What training changes, all from the same trained coarse model.
    Experiment("go_on_coarse_only", f"{DEEPLAB}.py", SHORT, start_from=f"{DEEPLAB}_small_init"),
    _go_on("as_published", {}),
    _go_on("uniform_points", {f"{SAMPLER}.importance_sample_ratio": 0}),
    _go_on(
        "only_uncertain_points",
        {f"{SAMPLER}.oversample_ratio": 10, f"{SAMPLER}.importance_sample_ratio": 1},
    ),
    _go_on("sampler_border", {f"{SAMPLER}.padding_mode": "border"}),
    _go_on("train_points_1280", {f"{SAMPLER}.num_points": 1280}),
    _go_on(
        "prob_margin",
        {f"{SAMPLER}.uncertainty": "prob_margin", f"{RENDERER}.uncertainty": "prob_margin"},
    ),
    _go_on("two_fine_levels", {f"{HEAD}.in_index": [0, 1], f"{HEAD}.in_channels": [64, 128]}),
    _go_on("detached_coarse", DETACHED),
    _go_on("point_head_lr_3", LR_3),
    _go_on("from_coarse", FROM_COARSE),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="experiments to run; by default all, in order")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("work_dirs/experiments"),
        help="folder of all experiments (default: %(default)s)",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run for each")
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
                )
    print(markdown_table((name, _results(args.out / name)) for name in known))


def _results(folder: Path) -> list[dict[str, float]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("seed_*/metrics.json"))]


if __name__ == "__main__":
    main()
