"""How much the tests of made-up values try: all with --long, a sample of it without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import Phase, settings

First = TypeVar("First")
Second = TypeVar("Second")

# Set by tests/conftest.py before any test module is read.
LONG = False


def examples(number: int) -> settings:
    """The same examples in every run. One that fails isn't made smaller, which takes minutes with a site."""
    number = number if LONG else -(-number // 3)
    return settings(max_examples=number, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])


def combinations(first: Sequence[First], second: Sequence[Second]) -> list[tuple[First, Second]]:
    """Each with each, or each of both at least once."""
    every = [(one, other) for one in first for other in second]
    return every if LONG else [(first[n % len(first)], other) for n, other in enumerate(second)]
