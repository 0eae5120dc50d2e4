"""Properties that are tried on many random inputs, and how many were tried."""

from collections import Counter
from collections.abc import Callable
from functools import wraps

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# Inputs that each property has held for in this run, by the name of the test.
HELD: Counter[str] = Counter()


def holds_for(
    number: int, *arguments: st.SearchStrategy, **named: st.SearchStrategy
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a slow test of a property of random inputs.

    Args:
        number (int): How many inputs to try.
        *arguments (SearchStrategy): As of :func:`hypothesis.given`.
        **named (SearchStrategy): As of :func:`hypothesis.given`.

    Returns:
        Callable: A decorator of the property, a function that raises where it does not hold.
    """

    def decorate(prop: Callable[..., None]) -> Callable[..., None]:
        @wraps(prop)
        def counted(*args: object, **kwargs: object) -> None:
            prop(*args, **kwargs)
            HELD[prop.__name__] += 1

        tried = settings(
            max_examples=number,
            deadline=None,
            derandomize=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        )
        return pytest.mark.slow(tried(given(*arguments, **named)(counted)))

    return decorate
