"""Lowers the budgets of tests/budgets.toml to what is reached now, plus a margin.

In: the file's text, and networks. Out: the text with smaller numbers where measurements allow. A
budget never rises here: raising one is done by hand, with the reason in the commit.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence

from benchmarks.measure import Measurement, Network, measure

MARGIN = 1.03
"""Room for changes elsewhere that cost a little, such as another version of the compiler."""


def lower_budgets(text: str, networks: Sequence[Network]) -> str:
    """The text of tests/budgets.toml, its budgets lowered where less is needed now."""
    known = {network.name: network for network in networks}
    for name, budget in tomllib.loads(text).items():
        network = budget.get("network", name)
        if network not in known:
            continue
        result = measure(known[network], budget["target"], "zig")
        if isinstance(result, Measurement):
            for key, value in figures(result).items():
                text = _lowered(text, name, key, min(budget[key], round(value * MARGIN)))
    return text


def figures(m: Measurement) -> dict[str, int]:
    """What a budget limits, by the names in the file."""
    flash, ram = m.flash, m.ram
    return {
        "instructions": m.instructions,
        "code_bytes": flash.code,
        "constant_bytes": flash.constants,
        "arena_bytes": ram.arena,
    }


def _lowered(text: str, name: str, key: str, value: int) -> str:
    """The text with one number replaced; comments stay."""
    pattern = rf"(^\[{re.escape(name)}\]\n(?:(?!\[).*\n)*?{key} = )[\d_]+"
    return re.sub(pattern, lambda match: f"{match[1]}{value:_}", text, flags=re.M)
