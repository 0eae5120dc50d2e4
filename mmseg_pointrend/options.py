"""Options that command lines share, also where PyTorch is not installed."""

from argparse import ArgumentParser


def add_partial_option(parser: ArgumentParser) -> None:
    """Add ``--allow-partial``."""
    parser.add_argument(
        "--allow-partial",
        action="store_true",
        help="go on with a checkpoint that does not fit the whole model",
    )


def add_trust_option(parser: ArgumentParser) -> None:
    """Add ``--trust-checkpoint``."""
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="read checkpoints that run code when they are read; only for those whose makers you "
        "trust",
    )
