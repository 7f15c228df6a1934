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
    found = interference(program, outs)
    behind = _ascending(program)
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
        if register in behind:
            before, more = behind[register]
            above = [c for c in free if c > colors.get(before, -1)]
            wished, free = [], above[: len(above) - more] or above or free
        taken = next((c for c in wished if c in free), free[0])
        colors[register] = taken
        holders[taken] |= bit
        closed[taken] |= neighbours
    return crowds or colors


@dataclass
class Interference:
    """``neighbours``: who lives where a register is written (of two, at least one knows the
    other); ``partners``: who is copied to whom; ``order`` of first writes."""

    neighbours: dict[int, int] = field(default_factory=dict)
    partners: dict[int, list[int]] = field(default_factory=dict)
    order: dict[int, int] = field(default_factory=dict)

    def apart(self, a: int, b: int) -> bool:
        """Whether two registers never live at once."""
        return not (self.neighbours.get(a, 0) >> b & 1 or self.neighbours.get(b, 0) >> a & 1)

    def crowd(self, register: int) -> int:
        """A register and all its neighbours."""
        crowd = 1 << register | self.neighbours[register]
        for other, those in self.neighbours.items():
            crowd |= (those >> register & 1) << other
        return crowd


def interference(program: Program, outs: Sequence[int]) -> Interference:
    found = Interference()
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


def _ascending(program: Program) -> dict[int, tuple[int, int]]:
    """By register of a load of several words: the register before it, and how many come behind."""
    found: dict[int, tuple[int, int]] = {}
    for block in program.blocks:
        for inst in block.insts:
            if inst.op.startswith("t.ldm"):
                words = inst.defs[:-1]
                for at, register in enumerate(words):
                    found[register] = (words[at - 1] if at else -1, len(words) - 1 - at)
    return found
