"""The choice within a budget equals that of trying all, and nothing is over the budget."""

from __future__ import annotations

import random
from itertools import product

import pytest

from utvm.schedule.knapsack import fewest_cycles
from utvm.schedule.knobs import Option


def _option(cycles: int, size: int) -> Option:
    return Option(cycles, size, lambda: None)


@pytest.mark.parametrize("seed", range(30))
def test_the_choice_is_the_best(seed: int) -> None:
    rng = random.Random(seed)
    kernels = [
        [_option(rng.randint(0, 99), rng.randint(0, 60)) for _ in range(rng.randint(1, 4))]
        for _ in range(rng.randint(1, 5))
    ]
    budget = rng.randint(0, 200)
    chosen = fewest_cycles(kernels, budget)
    fitting = [
        sum(one.cycles for one in choice)
        for choice in product(*kernels)
        if sum(one.bytes for one in choice) <= budget
    ]
    found = [one for one in chosen if one is not None]
    assert len(found) == len(kernels)
    if fitting:
        assert sum(one.bytes for one in found) <= budget
        assert sum(one.cycles for one in found) == min(fitting)
    else:
        assert [one.bytes for one in found] == [min(o.bytes for o in kind) for kind in kernels]


def test_kernels_without_options_stay_without() -> None:
    one = _option(5, 10)
    assert fewest_cycles([[], [one], []], 10) == [None, one, None]


def test_large_budgets_are_counted_in_units() -> None:
    kinds = [[_option(100, 1000), _option(10, 1_000_000)] for _ in range(9)]
    chosen = [one for one in fewest_cycles(kinds, 5_010_000) if one is not None]
    assert sum(one.bytes for one in chosen) <= 5_010_000
    assert sum(one.cycles == 10 for one in chosen) == 5
