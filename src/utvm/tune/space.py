"""The schedules of a task as points that a search moves among.

In: a task's options. Out: a ``Space``: configs by index, the values of each knob, and what a cost
model sees of a config. Nothing here knows what a knob means; a knob that a template does not have
is -1 there, and templates are numbers in the order of their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log2

import numpy as np

from utvm.schedule.knobs import Option
from utvm.schedule.records import Config

_ABSENT = -1
_PRODUCTS = (("pixels", "filters"), ("filters", "steps"), ("width", "plane_bytes"))
"""Knobs that mean most together: the size of a block, of an unrolled turn, of a strip."""


@dataclass(frozen=True, eq=False)
class Space:
    """``features`` has a row per config; ``small`` are the configs with the fewest constants."""

    configs: tuple[Config, ...]
    index: Mapping[Config, int]
    defaults: tuple[int, ...]
    small: frozenset[int]
    values: Mapping[str, tuple[int | str, ...]]
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.configs)


def make_space(options: Sequence[Option], knobs: Sequence[str], extent: float) -> Space:
    """The space of one task. ``knobs`` names the columns, so that spaces of several tasks have the
    same; ``extent`` is a number that says how large the kernel is."""
    configs = tuple(option.config for option in options)
    values: dict[str, set[int | str]] = {}
    for config in configs:
        for name, value in config:
            values.setdefault(name, set()).add(value)
    least = min(option.bytes for option in options)
    return Space(
        configs,
        {config: at for at, config in enumerate(configs)},
        tuple(at for at, option in enumerate(options) if option.default),
        frozenset(at for at, option in enumerate(options) if option.bytes == least),
        {name: tuple(sorted(found, key=str)) for name, found in values.items()},
        np.array([_features(option, knobs, extent) for option in options], dtype=np.float64),
    )


def knob_names(options: Iterable[Option]) -> tuple[str, ...]:
    """Every knob of several tasks, sorted."""
    return tuple(sorted({name for option in options for name, _ in option.config}))


def _features(option: Option, knobs: Sequence[str], extent: float) -> list[float]:
    config = dict(option.config)
    numbers = {name: _number(config.get(name, _ABSENT)) for name in knobs}
    products = [numbers.get(a, _ABSENT) * numbers.get(b, _ABSENT) for a, b in _PRODUCTS]
    estimates = [log2(1 + option.cycles), log2(1 + option.bytes), log2(1 + extent)]
    return [*numbers.values(), *products, *estimates]


def _number(value: int | str) -> float:
    """Texts, which are names of templates, as numbers that keep their order."""
    if isinstance(value, int):
        return float(value)
    return float(int.from_bytes(value.encode()[:4].ljust(4, b"\0"), "big"))
