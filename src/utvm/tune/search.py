"""How configs are proposed: by random, in order, by a genetic algorithm, or by a cost model.

In: what is known of a task, and how many are wanted. Out: indices of configs that were not tried,
none twice; fewer where the space is exhausted. All strategies share one rule: the defaults come
first, so that every task knows what it has without tuning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from utvm.schedule.records import Config
from utvm.tune.space import Space

SEARCHES = ("model", "random", "grid", "genetic")
_EPSILON = 0.15
"""Share of proposals that the model does not make."""
_PARENTS = 8
_MUTATION = 0.3
_TRIES = 200

Model = Callable[[np.ndarray], np.ndarray]


@dataclass(eq=False)
class Known:
    """What was tried: scores by index, None where a trial failed. ``asked`` are under way.

    ``pool`` are the configs that may be proposed.
    """

    space: Space
    pool: frozenset[int]
    scores: dict[int, float | None] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)

    @property
    def open(self) -> list[int]:
        """What may still be proposed, in order."""
        return [at for at in sorted(self.pool) if at not in self.scores and at not in self.asked]

    @property
    def measured(self) -> dict[int, float]:
        return {at: score for at, score in self.scores.items() if score is not None}


def propose(
    known: Known, count: int, search: str, generator: np.random.Generator, model: Model | None
) -> list[int]:
    """Up to ``count`` new configs. Without a model its search is a random one."""
    left = known.open
    chosen = [at for at in known.space.defaults if at in left][:count]
    rest = [at for at in left if at not in chosen]
    wanted = min(count - len(chosen), len(rest))
    if wanted <= 0:
        return chosen
    if search == "grid":
        return [*chosen, *rest[:wanted]]
    if search == "genetic" and len(known.measured) >= 2:
        return [*chosen, *_genetic(known, rest, wanted, generator)]
    if search == "model" and model is not None:
        return [*chosen, *_best(known, rest, wanted, generator, model)]
    return [*chosen, *_random(rest, wanted, generator)]


def _random(rest: list[int], wanted: int, generator: np.random.Generator) -> list[int]:
    return [int(at) for at in generator.choice(rest, wanted, replace=False)]


def _best(
    known: Known, rest: list[int], wanted: int, generator: np.random.Generator, model: Model
) -> list[int]:
    """What the model ranks highest, and now and then something else."""
    opinion = model(known.space.features[rest])
    ranked = [rest[int(at)] for at in np.argsort(-opinion, kind="stable")]
    chosen: list[int] = []
    for _ in range(wanted):
        left = [at for at in ranked if at not in chosen]
        chosen.append(int(generator.choice(left)) if generator.random() < _EPSILON else left[0])
    return chosen


def _genetic(
    known: Known, rest: list[int], wanted: int, generator: np.random.Generator
) -> list[int]:
    """Children of the best: each knob from one parent or, sometimes, any value."""
    ranked = sorted(known.measured, key=lambda at: known.measured[at])[:_PARENTS]
    allowed = set(rest)
    chosen: dict[int, None] = {}
    for _ in range(_TRIES * wanted):
        if len(chosen) == wanted:
            break
        first, second = (
            dict(known.space.configs[ranked[int(generator.integers(len(ranked)))]])
            for _ in range(2)
        )
        child = known.space.index.get(_child(first, second, known.space.values, generator))
        if child in allowed and child is not None:
            chosen[child] = None
    others = [at for at in rest if at not in chosen]
    return [*chosen, *_random(others, wanted - len(chosen), generator)]


def _child(
    first: Mapping[str, int | str],
    second: Mapping[str, int | str],
    values: Mapping[str, Iterable[int | str]],
    generator: np.random.Generator,
) -> Config:
    """A mixture; it need not be in the space."""
    knobs = {}
    for name in sorted(first):
        choices = [first[name], second.get(name, first[name])]
        if name != "template" and generator.random() < _MUTATION:
            choices = list(values[name])
        knobs[name] = choices[int(generator.integers(len(choices)))]
    return tuple(sorted(knobs.items()))
