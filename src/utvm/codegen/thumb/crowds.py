"""Places where more values live than there are registers.

In: a block in its final order, what is live behind it, and how many registers there are. Out: a
``Crowd`` at the most crowded place: who lives there, and over how many instructions around that
place each is not mentioned. Spilling helps only those that are away for long enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from utvm.codegen.thumb.machine import Inst, members

ALWAYS = 1 << 31  # the gap of a register that is mentioned on one side of the place at most


@dataclass(frozen=True)
class Crowd:
    """``gaps``: by register the instructions between its mentions on both sides of the place;
    ``excess``: how many registers are missing."""

    gaps: Mapping[int, int]
    excess: int


def crowd_of(insts: Sequence[Inst], out: int, registers: int, remade: int) -> Crowd | None:
    """The most crowded place of a block, if anywhere there are too few registers. What writes one
    of ``remade`` goes when that register is spilled, so it is no mention."""
    live, most, where = out, out, len(insts)
    for at in range(len(insts) - 1, -1, -1):
        inst = insts[at]
        here = live | inst.writes
        if here.bit_count() > most.bit_count():
            most, where = here, at
        live = live & ~inst.writes | inst.reads
    if most.bit_count() <= registers:
        return None
    gaps = {r: _gap(insts, where, r, bool(remade >> r & 1)) for r in members(most)}
    return Crowd(gaps, most.bit_count() - registers)


def _gap(insts: Sequence[Inst], where: int, register: int, remade: bool) -> int:
    """From the last mention at or before a place to the first behind it."""
    bit = 1 << register
    before = after = -1
    for at in range(min(where, len(insts) - 1), -1, -1):
        if (insts[at].reads | (0 if remade else insts[at].writes)) & bit:
            before = at
            break
    if before == where:
        return 0
    for at in range(where + 1, len(insts)):
        if (insts[at].reads | insts[at].writes) & bit:
            after = at
            break
    return ALWAYS if before < 0 or after < 0 else after - before


def rest_of(insts: Sequence[Inst], register: int) -> int:
    """The longest way through the body of a loop on which a register is not mentioned."""
    bit = 1 << register
    places = [at for at, inst in enumerate(insts) if (inst.reads | inst.writes) & bit]
    if not places or places[-1] - places[0] < len(insts) // 2:
        return ALWAYS
    return max(b - a for a, b in pairwise(places))
