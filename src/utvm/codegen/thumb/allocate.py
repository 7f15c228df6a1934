"""Scheduling and register allocation together: which values go to the stack, who lives where.

In: a program over virtual registers. Out: its blocks in their final order, and a real register for
each virtual one. Values are spilled whole (stored where they are written, loaded where they are
read), the cheapest first: what lives through an inner loop without use there costs least. More is
spilled as long as the schedules that this makes possible are worth it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from utvm.codegen.thumb.body import Body
from utvm.codegen.thumb.flow import live_in, live_out
from utvm.codegen.thumb.machine import Block, NotSelectableError, Program, members, real
from utvm.codegen.thumb.schedule import Scheduled, schedule
from utvm.codegen.thumb.spill import SpillCosts, Spiller, Spills
from utvm.target.pipeline import Pipeline

REGISTERS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14)
_COLD = 50  # a block with less than this part of the hottest one's work is scheduled quickly
_LOCAL = 3  # what lives in one block only frees a register for a short time: it counts so much more
_TRIES = 2  # values spilled beyond those that must be, to see whether it pays


@dataclass(frozen=True)
class Allocation:
    """``colors`` by virtual register; ``slots``: words on the stack; ``cycles`` of one call, as
    far as the numbers of rounds are known."""

    program: Program
    colors: Mapping[int, int]
    slots: int
    cycles: int


@dataclass(frozen=True)
class _Failure:
    """The registers that compete at each place where there are too few."""

    crowds: list[int]


def allocate(program: Program, pipeline: Pipeline) -> Allocation:
    """The cheapest allocation found."""
    return _Allocator(program, pipeline).run()


class _Allocator:
    def __init__(self, program: Program, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.spiller = Spiller(program)
        self.costs = SpillCosts(program, self.spiller.again)
        self.bodies: dict[tuple[Block, int], Body] = {}
        self.known: dict[object, Scheduled] = {}
        self.crossing = 0
        for out in live_out(program.blocks):
            self.crossing |= out
        self.most = max(block.weight * len(block.insts) for block in program.blocks)

    def run(self) -> Allocation:
        """First, blocks keep the order of their text until all values have a place."""
        spills: dict[int, int] = {}
        best: Allocation | None = None
        tries = 0
        thorough = False
        while True:
            result = self._attempt(spills, thorough)
            if isinstance(result, Allocation) and not thorough:
                thorough = True
                continue
            if isinstance(result, Allocation):
                tries += 1
                if best is None or result.cycles < best.cycles:
                    best, tries = result, 0
                crowds = [self._crowd(result.program)]
            else:
                crowds = result.crowds
            victims = self._victims(crowds, spills)
            if not victims or (best is not None and tries > _TRIES):
                break
            spills |= victims
        if best is None:
            raise NotSelectableError("more values at once than registers")
        return best

    def _victims(self, crowds: Sequence[int], spills: Spills) -> dict[int, int]:
        """One register of each crowd that has lost none yet, with how far it is to be spilled."""
        victims: dict[int, int] = {}
        origins = self.spiller.origins
        for crowd in crowds:
            candidates = {origins.get(register, register) for register in members(crowd)}
            if candidates & set(victims):
                continue
            degrees = {r: self.costs.next_degree(r, spills) for r in candidates}
            found = [
                (d[1] * (1 if self.crossing >> r & 1 else _LOCAL), r, d[0])
                for r, d in degrees.items()
                if d is not None
            ]
            if found:
                _, victim, distance = min(found)
                victims[victim] = distance
        return victims

    def _crowd(self, program: Program) -> int:
        """What lives through the block that costs most."""
        blocks = program.blocks
        outs = live_out(blocks)
        weights = [block.weight * len(block.insts) for block in blocks]
        at = weights.index(max(weights))
        return live_in(blocks[at], outs[at]) & outs[at]

    def _attempt(self, spills: Spills, thorough: bool) -> Allocation | _Failure:
        program, slots = self.spiller.rewritten(spills)
        outs = live_out(program.blocks)
        blocks: list[Block] = []
        cycles = 0
        for block, out in zip(program.blocks, outs, strict=True):
            hot = block.weight * len(block.insts) * _COLD >= self.most
            found = self._schedule(block, out, thorough and hot)
            cycles += found.cycles * block.weight
            blocks.append(replace(block, insts=found.insts))
        program = replace(program, blocks=tuple(blocks))
        colors = color(program, outs)
        if isinstance(colors, _Failure):
            return colors
        return Allocation(program, colors, slots, cycles)

    def _schedule(self, block: Block, out: int, thorough: bool) -> Scheduled:
        """Remembered, since most blocks stay as they are from one attempt to the next."""
        inside = out & block.mentions
        limit = len(REGISTERS) - (out & ~inside).bit_count()
        key = (block, inside, limit if thorough else 0)
        if key not in self.known:
            if (block, inside) not in self.bodies:
                self.bodies[block, inside] = Body(block, inside)
            body = self.bodies[block, inside]
            self.known[key] = schedule(body, limit, self.pipeline, thorough=thorough)
        return self.known[key]


def color(program: Program, outs: Sequence[int]) -> dict[int, int] | _Failure:
    """A real register for each virtual one, or who competes. Greedy in the order of the text,
    which is optimal for straight lines."""
    found = _interference(program, outs)
    colors: dict[int, int] = {}
    holders = dict.fromkeys(REGISTERS, 0)  # by real register: who lives in it,
    closed = dict.fromkeys(REGISTERS, 0)  # and who lives at the same time
    crowds: list[int] = []
    for register in sorted(found.order, key=lambda r: (r not in program.fixed, found.order[r])):
        bit, neighbours = 1 << register, found.neighbours[register]
        free = [c for c in REGISTERS if not (holders[c] & neighbours or closed[c] & bit)]
        if register in program.fixed:
            free = [c for c in free if c == program.fixed[register]]
        if not free:
            crowds.append(found.crowd(register))
            continue
        wished = [colors[p] for p in found.partners.get(register, ()) if p in colors]
        taken = next((c for c in wished if c in free), free[0])
        colors[register] = taken
        holders[taken] |= bit
        closed[taken] |= neighbours
    return _Failure(crowds) if crowds else colors


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
            if inst.op == "mov":
                source, copy = inst.uses[0], inst.defs[0]
                others &= ~(1 << source)
                found.partners.setdefault(source, []).append(copy)
                found.partners.setdefault(copy, []).append(source)
            for register in members(writes):
                neighbours[register] = neighbours.get(register, 0) | others & ~(1 << register)
            live = live & ~writes | inst.reads
    return found
