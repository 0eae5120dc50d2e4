"""Measuring time and memory against MMSegmentation."""

from .measure import Measurement, as_rows, compare, print_table
from .model import benchmark_model
from .render import benchmark_render
from .train import benchmark_train

__all__ = [
    "Measurement",
    "as_rows",
    "benchmark_model",
    "benchmark_render",
    "benchmark_train",
    "compare",
    "print_table",
]
