"""One option per kernel, so that all together take the fewest cycles within a budget of bytes.

In: the options of each kernel, and how many bytes of constants there may be. Out: the choice. It is
a knapsack problem with one item of each kind, solved exactly but for rounding: what an option has
beyond the smallest one counts in units, of which the budget has some thousand. Where not even the
smallest options fit, they are the choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utvm.schedule.knobs import Option

UNITS = 4096


def fewest_cycles(options: Sequence[Sequence[Option]], budget: int) -> list[Option | None]:
    """The choice; None where there is no option. Of equal cycles fewer bytes are taken."""
    kinds = [sorted(one, key=lambda option: (option.bytes, option.cycles)) for one in options]
    left = max(budget - sum(kind[0].bytes for kind in kinds if kind), 0)
    unit = max(-(-left // UNITS), 1)
    places = left // unit + 1
    best = np.zeros(places)  # cycles of the kernels so far, by the units that they may take
    picks: list[np.ndarray] = []
    for kind in kinds:
        totals = np.full((max(len(kind), 1), places), np.inf)
        for at, more in enumerate(_units(kind, unit)):
            if more < places:
                totals[at, more:] = best[: places - more] + kind[at].cycles
        picks.append(totals.argmin(axis=0))
        best = totals.min(axis=0) if kind else best
    chosen: list[Option | None] = []
    place = places - 1
    for kind, pick in zip(reversed(kinds), reversed(picks), strict=True):
        at = int(pick[place])
        chosen.append(kind[at] if kind else None)
        place -= _units(kind, unit)[at] if kind else 0
    return chosen[::-1]


def _units(kind: Sequence[Option], unit: int) -> list[int]:
    """What each option has beyond the smallest one."""
    return [-((kind[0].bytes - option.bytes) // unit) for option in kind]
