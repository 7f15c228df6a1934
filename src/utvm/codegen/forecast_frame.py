"""What is known of one loop body while it is counted, and which of its values find no register.

In: the values that a body makes, uses and keeps, in the order in which a compiler would. Out: how
many of them are spilled per round: those that live where no register is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_Place = tuple[int, int]


@dataclass
class Frame:
    """A body that runs ``runs`` times. ``names`` change in it; ``seen`` has been counted in it.

    ``moved`` are the addresses that move with the loop, ``held`` is what stays in registers from
    one round to the next; ``spans`` has the first and the last use of what is made in a round.
    Compilers finish one accumulator of a straight line before they begin the next, so uses are
    ordered by the ``chain`` that they are part of: the accumulator's number.
    """

    runs: float
    names: set[str]
    var: str = ""
    seen: set[object] = field(default_factory=set)
    moved: set[object] = field(default_factory=set)
    held: set[object] = field(default_factory=set)
    spans: dict[object, tuple[_Place, _Place]] = field(default_factory=dict)
    chains: list[str] = field(default_factory=list)
    chain: int = 0
    counted: float = 0.0
    step: int = 0

    def use(self, value: object) -> None:
        """A value is made or used now."""
        self.step += 1
        now = (self.chain, self.step)
        first, last = self.spans.get(value, (now, now))
        self.spans[value] = min(first, now), max(last, now)

    def spilled(self, registers: int, carried: int) -> int:
        """How many values per round find no register."""
        fixed = len(self.held) + carried
        ends: list[_Place] = []
        spilled = max(0, fixed + 2 - registers)
        for first, last in sorted(self.spans.values()):
            ends = [end for end in ends if end > first]
            if last > first:
                spilled += fixed + len(ends) + 1 > registers
                ends.append(last)
        return spilled
