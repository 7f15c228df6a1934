"""What a row of the tables of instructions is: an op with its kind, text, roles and feature.

The kinds are classes of the timing model. ``isa.py`` has the table and says what the braces in a
text mean; ``armv6m.py`` has the rows that only Armv6-M needs.
"""

from __future__ import annotations

from dataclasses import dataclass

SIMPLE, ALU, EXTEND, SATURATE, MULTIPLY = "simple", "alu", "extend", "saturate", "multiply"
LOAD, NARROW, STORE, BRANCH, LONG = "load", "narrow", "store", "branch", "long"
NOTHING = "nothing"  # takes no time: the marks for parameters


@dataclass(frozen=True)
class Op:
    """``roles`` of the used registers: source, shifted, accumulator, address, data, flags. ``more``
    are the cycles that come in front, where a text is several instructions."""

    kind: str
    text: str
    roles: tuple[str, ...] = ()
    feature: str = "thumb2"
    more: int = 0
