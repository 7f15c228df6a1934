"""Searches propose each config once, and end; the cost model learns what is fast."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from utvm.schedule.knobs import Option
from utvm.schedule.records import config_of
from utvm.tune.cost_model import relevance, train
from utvm.tune.search import SEARCHES, Known, propose
from utvm.tune.space import Space, knob_names, make_space


def _options() -> list[Option]:
    return [
        Option(100.0, 8 * wide, lambda: None, config_of(knobs), default=default)
        for pixels in (1, 2, 3, 4)
        for filters in (1, 2, 4, 8)
        for wide in (0, 1)
        for steps in (2, 4, 8)
        for knobs in [
            {
                "template": "direct",
                "pixels": pixels,
                "filters": filters,
                "wide": wide,
                "steps": steps,
            }
        ]
        for default in [pixels == 2 and filters == 4 and steps == 8]
    ]


def _space() -> Space:
    options = _options()
    return make_space(options, knob_names(options), 1000.0)


def _cycles(space: Space, at: int) -> float:
    """A landscape with one best config: 3 x 4, wide, 8 steps."""
    knobs = {name: value for name, value in space.configs[at] if isinstance(value, int)}
    block = abs(knobs["pixels"] - 3) + abs(np.log2(knobs["filters"]) - 2)
    return float(100 + 40 * block + 10 * (1 - knobs["wide"]) + 4 * (8 - knobs["steps"]))


def _model(known: Known) -> Callable[[np.ndarray], np.ndarray] | None:
    if len(known.scores) < 16:
        return None
    return train([(known.space.features[list(known.scores)], list(known.scores.values()))])


def _run(search: str, trials: int, pool: frozenset[int] | None = None, seed: int = 0) -> Known:
    space = _space()
    known = Known(space, frozenset(range(len(space))) if pool is None else pool)
    generator = np.random.default_rng(seed)
    while len(known.scores) < trials:
        model = _model(known) if search == "model" else None
        chosen = propose(known, 8, search, generator, model)
        if not chosen:
            break
        assert len(set(chosen)) == len(chosen)
        assert not set(chosen) & set(known.scores)
        known.scores |= {at: _cycles(space, at) for at in chosen}
    return known


@pytest.mark.parametrize("search", SEARCHES)
def test_all_is_tried_once_and_then_nothing(search: str) -> None:
    known = _run(search, 1000)
    assert set(known.scores) == set(range(len(known.space)))
    assert propose(known, 4, search, np.random.default_rng(0), None) == []


@pytest.mark.parametrize("search", SEARCHES)
def test_defaults_come_first_and_only_the_pool_is_tried(search: str) -> None:
    space = _space()
    known = _run(search, 1000, space.small)
    assert set(known.scores) == space.small
    assert set(list(known.scores)[:1]) == set(space.defaults) & space.small


def test_what_is_under_way_is_not_proposed() -> None:
    space = _space()
    known = Known(space, frozenset(range(len(space))), asked=set(range(10, len(space))))
    chosen = propose(known, 50, "random", np.random.default_rng(0), None)
    assert sorted(chosen) == list(range(10))


@pytest.mark.parametrize("search", ["model", "genetic"])
def test_learning_finds_the_best_sooner_than_the_order_does(search: str) -> None:
    space = _space()
    best = min(_cycles(space, at) for at in range(len(space)))
    found = [min(_run(search, 48, seed=seed).measured.values()) for seed in range(3)]
    assert found == [best] * 3
    assert min(_run("grid", 48).measured.values()) > best


def test_relevance_is_by_nearness_to_the_best() -> None:
    assert relevance([100.0, None, 200.0, 125.0, 1000.0]).tolist() == [15, 0, 1, 9, 1]


def test_a_model_ranks_failures_last() -> None:
    generator = np.random.default_rng(0)
    features = generator.uniform(size=(60, 3))
    scores = [None if x > 0.8 else 100 + 100 * y for x, y, _ in features]
    opinion = train([(features, scores)])(features)
    failed = np.array([score is None for score in scores])
    assert opinion[failed].mean() < np.median(opinion[~failed])
