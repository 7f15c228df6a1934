"""What schedules are named by: the knobs of every template, configs that pin them, and options.

In: a template's schedule and its knobs. Out: configs, one for every combination, and the schedule
that a config pins; which of them fit a kernel is for the template's list of options to say. An
``Option`` is a config with what it costs and how it is built.

To add a knob: a field of the template's schedule, and a line with its values below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from functools import cache
from itertools import product
from typing import Any, TypeVar

from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.records import Config, config_of

Knobs = Mapping[str, Sequence[int]]
S = TypeVar("S")

CONV_KNOBS: Knobs = {
    "pixels": (1, 2, 3, 4),
    "filters": (1, 2, 3, 4, 5, 6, 8),
    "wide": (0, 1),
    "steps": (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20, 25),
    "ring": (0, 1),
    "raw": (0, 1),
}
PLAIN_KNOBS: Knobs = {
    "pixels": (1, 2, 3, 4, 5, 6),
    "filters": (1, 2, 3, 4, 5, 6, 8),
    "steps": (4, 8, 12, 16, 32),
    "folded": (0, 1),
}
DEPTHWISE_KNOBS: Knobs = {
    "width": (1, 2, 3, 4, 5, 6, 7, 8, 10),
    "plane_bytes": (1536, 3072, 6144, 12288),
    "wide": (0, 1),
}
ACROSS_KNOBS: Knobs = {
    "pixels": (1, 2, 3, 4, 5, 6),
    "lanes": (2, 4),
    "plane_bytes": (1536, 3072, 6144, 12288),
    "split": (0, 1),
}
WINOGRAD_KNOBS: Knobs = {
    "tiles": (1, 2, 3, 4),
    "filters": (2, 4, 8),
    "steps": (2, 4, 8, 12),
    "results": (1, 2, 4),
    "together": (1, 2, 4),
    "value_bytes": (3 << 10, 9 << 10, 18 << 10),
    "expanded": (0, 1),
}
POOL_KNOBS: Knobs = {"together": (1, 2, 3, 4, 6)}
ELEMENT_KNOBS: Knobs = {"elements": (2, 4, 6, 8, 12, 16)}
LOOP_KNOBS: Knobs = {"columns": (1, 2, 3, 4), "channels": (1, 2, 4, 8), "depth": (1, 2, 4, 8)}

_UNNAMED = ("shared", "ring", "raw", "plain", "folded")

Wanted = Callable[[Config], bool]
"""Whether an option that is no default is asked for, by its config."""


@dataclass(frozen=True, eq=False)
class Option:
    """``cycles`` per run and ``bytes`` of constants, both estimated; ``build`` may give None.

    ``of_weights`` are the bytes of the weights among the constants of the unscheduled kernel, which
    those of the option replace; ``code_bytes`` is known only of an option that was ``measured``.
    ``lavish``: many bytes for few cycles, so that only who wants cycles alone should take it.
    """

    cycles: float
    bytes: int
    build: Callable[[], Scheduled | None]
    config: Config = ()
    default: bool = True
    measured: bool = False
    code_bytes: int = 0
    of_weights: int = 0
    lavish: bool = False


def configs_of(template: str, schedule: object, knobs: Knobs) -> Iterator[Config]:
    """Every combination; a schedule's fields without knobs keep their defaults. A config names
    ``_UNNAMED`` only where they are on."""
    fields = asdict(schedule)  # type: ignore[call-overload]
    for values in product(*knobs.values()):
        chosen = {**fields, **dict(zip(knobs, values, strict=True))}
        numbers = {n: int(v) for n, v in chosen.items() if n not in _UNNAMED or v}
        yield config_of({"template": template, **numbers})


def default_config(template: str, schedule: object) -> Config:
    """The config that names a schedule."""
    return next(configs_of(template, schedule, {}))


def schedule_of(default: S, config: Config) -> S:
    """The schedule that a config pins."""
    kind: type = type(default)
    booleans = _booleans(kind)
    fields: dict[str, Any] = {n: bool(v) if n in booleans else v for n, v in config}
    del fields["template"]
    return type(default)(**fields)


@cache
def _booleans(kind: type) -> frozenset[str]:
    """The fields of a schedule that are true or false."""
    return frozenset(field.name for field in fields_of(kind) if field.type in (bool, "bool"))
