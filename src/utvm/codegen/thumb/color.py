"""Real registers for virtual ones.

In: a program in its final order and what is live behind each block. Out: a real register for each
virtual one, such that no two that live at once share one, or the crowds of those that compete.
Copies of one another get the same register where that can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from utvm.codegen.thumb.crowds import ALWAYS, Crowd
from utvm.codegen.thumb.machine import Program, members, real


def color(
    program: Program,
    outs: Sequence[int],
    registers: Sequence[int],
    wishes: Mapping[int, Sequence[int]] = MappingProxyType({}),
) -> dict[int, int] | list[Crowd]:
    """A real register for each virtual one, or who competes. Greedy in the order of the text,
    which is optimal for straight lines. ``wishes`` are real registers in order of preference."""
    found = _interference(program, outs)
    colors: dict[int, int] = {}
    holders = dict.fromkeys(registers, 0)  # by real register: who lives in it,
    closed = dict.fromkeys(registers, 0)  # and who lives at the same time
    crowds: list[Crowd] = []
    for register in sorted(found.order, key=lambda r: (r not in program.fixed, found.order[r])):
        bit, neighbours = 1 << register, found.neighbours[register]
        order = wishes.get(register, registers)
        free = [c for c in order if not (holders[c] & neighbours or closed[c] & bit)]
        if register in program.fixed:
            free = [c for c in free if c == program.fixed[register]]
        if not free:
            crowds.append(Crowd(dict.fromkeys(members(found.crowd(register)), ALWAYS), 1))
            continue
        wished = [colors[p] for p in found.partners.get(register, ()) if p in colors]
        taken = next((c for c in wished if c in free), free[0])
        colors[register] = taken
        holders[taken] |= bit
        closed[taken] |= neighbours
    return crowds or colors


@dataclass
class _Interference:
    """``neighbours``: who lives where a register is written (of two, at least one knows the
    other); ``partners``: who is copied to whom; ``order`` of first writes."""

    neighbours: dict[int, int] = field(default_factory=dict)
    partners: dict[int, list[int]] = field(default_factory=dict)
    order: dict[int, int] = field(default_factory=dict)

    def crowd(self, register: int) -> int:
        """A register and all its neighbours."""
        crowd = 1 << register | self.neighbours[register]
        for other, those in self.neighbours.items():
            crowd |= (those >> register & 1) << other
        return crowd


def _interference(program: Program, outs: Sequence[int]) -> _Interference:
    found = _Interference()
    neighbours = found.neighbours
    for block, out in zip(program.blocks, outs, strict=True):
        for inst in block.insts:
            for register in real(inst.defs):
                found.order.setdefault(register, len(found.order))
        live = out
        for inst in reversed(block.insts):
            writes = inst.writes
            others = live | writes
            if inst.op == "mov" and min(inst.uses[0], inst.defs[0]) >= 0:
                source, copy = inst.uses[0], inst.defs[0]
                others &= ~(1 << source)
                found.partners.setdefault(source, []).append(copy)
                found.partners.setdefault(copy, []).append(source)
            for register in members(writes):
                neighbours[register] = neighbours.get(register, 0) | others & ~(1 << register)
            live = live & ~writes | inst.reads
    return found
