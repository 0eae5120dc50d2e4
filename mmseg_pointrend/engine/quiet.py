"""Silence, by name, what the libraries say about parts that a user can do nothing about.

Nothing here imports torch or MMSegmentation.
"""

import sys
import warnings
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO

# Beginnings of warnings: mmcv without compiled operators, and defaults of MMSegmentation's loss and
# visualization hook.
KNOWN_WARNINGS = (
    "Fail to import ``MultiScaleDeformableAttention``",
    "Default ``avg_non_ignore`` is False",
    "The draw is False, it means that the hook for visualization will not take effect",
)
# What OneDL's MMSegmentation prints when it is imported.
KNOWN_LINES = ("Could not import OneDL",)


def ignore_known_warnings() -> None:
    """Ignore ``KNOWN_WARNINGS`` from now on; for programs, not for libraries."""
    for message in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def import_quietly(*names: str) -> None:
    """Import modules without their ``KNOWN_WARNINGS`` and ``KNOWN_LINES``; no filter stays."""
    printed = StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(printed):
            ignore_known_warnings()
            for name in names:
                import_module(name)
    finally:
        lines = printed.getvalue().splitlines(keepends=True)
        sys.stdout.writelines(line for line in lines if line.strip() not in KNOWN_LINES)
