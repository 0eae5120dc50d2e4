"""Train a segmentor: tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] [--amp] ..."""

import argparse
import logging

from mmengine.runner import Runner
from mmseg.registry import RUNNERS

from mmseg_pointrend.checkpoints.loading import checkpoints_as_data
from mmseg_pointrend.command_line import add_config_options, load_config
from mmseg_pointrend.config_errors import config_errors
from mmseg_pointrend.engine.distributed import launched
from mmseg_pointrend.engine.quiet import ignore_known_warnings
from mmseg_pointrend.engine.training import prepare_training
from mmseg_pointrend.errors import one_line_errors
from mmseg_pointrend.options import add_partial_option, add_trust_option


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a segmentor.")
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from CHECKPOINT, or without a value from the newest whole one in the work dir",
    )
    add_partial_option(parser)
    parser.add_argument(
        "--amp", action="store_true", help="mixed precision: float16 on a GPU, bfloat16 on a CPU"
    )
    parser.add_argument(
        "--channels-last", action="store_true", help="lay out features pixel by pixel: often faster"
    )
    add_trust_option(parser)
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    ignore_known_warnings()
    args = parse_args()
    logging.raiseExceptions = False  # a full disk is reported once, not with every line of the log
    with one_line_errors(), launched(args.launcher) as processes:
        cfg = processes.join(load_config(args))
        cfg = prepare_training(
            cfg,
            args.resume,
            args.amp,
            args.channels_last,
            args.allow_partial,
            args.trust_checkpoint,
        )
        with checkpoints_as_data(args.trust_checkpoint), config_errors():
            runner = RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
            runner.train()


if __name__ == "__main__":
    main()
