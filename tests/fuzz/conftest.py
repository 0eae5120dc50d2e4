import sys
from pathlib import Path

import pytest

from .examples import HELD

# The strategies and references of the short tests are used here as well.
TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / folder) for folder in ("evaluation", "rendering")]
pytest.register_assert_rewrite("test_points", "test_sparse", "test_boundary_iou_metric")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many inputs were tried."""
    if HELD:
        terminalreporter.section("random inputs")
        for name, count in HELD.items():
            terminalreporter.line(f"{count:6} {name}")
        terminalreporter.line(f"{HELD.total():6} in all")
