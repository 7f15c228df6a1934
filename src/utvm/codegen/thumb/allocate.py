"""Scheduling and register allocation together: which values go to the stack, who lives where.

In: a program over virtual registers. Out: its blocks in their final order, and a real register for
each virtual one. Values are spilled whole (stored where they are written, loaded where they are
read), the cheapest first: what lives through an inner loop without use there costs least. More is
spilled as long as the schedules that this makes possible are worth it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from utvm.codegen.thumb.flow import live_in, live_out
from utvm.codegen.thumb.machine import Block, NotSelectableError, Program, real
from utvm.codegen.thumb.schedule import Scheduled, schedule
from utvm.codegen.thumb.spill import SpillCosts, Spills, with_spills
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

    crowds: list[frozenset[int]]


def allocate(program: Program, pipeline: Pipeline) -> Allocation:
    """The cheapest allocation found."""
    return _Allocator(program, pipeline).run()


class _Allocator:
    def __init__(self, program: Program, pipeline: Pipeline) -> None:
        self.program, self.pipeline = program, pipeline
        self.known: dict[object, Scheduled] = {}
        self.costs = SpillCosts(program)
        self.crossing = frozenset().union(*live_out(program.blocks))

    def run(self) -> Allocation:
        spills: dict[int, int] = {}
        best: Allocation | None = None
        tries = 0
        thorough = False
        while True:
            result, origins = self._attempt(spills, thorough)
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
            victims = self._victims(crowds, spills, origins)
            if not victims or (best is not None and tries > _TRIES):
                break
            spills |= victims
        if best is None:
            raise NotSelectableError("more values at once than registers")
        return best

    def _victims(
        self, crowds: Sequence[frozenset[int]], spills: Spills, origins: Mapping[int, int]
    ) -> dict[int, int]:
        """One register of each crowd that has lost none yet, with how far it is to be spilled."""
        victims: dict[int, int] = {}
        for crowd in crowds:
            candidates = {origins.get(register, register) for register in crowd}
            if candidates & set(victims):
                continue
            degrees = {r: self.costs.next_degree(r, spills) for r in candidates}
            found = [
                (d[1] * (1 if r in self.crossing else _LOCAL), r, d[0])
                for r, d in degrees.items()
                if d is not None
            ]
            if found:
                _, victim, distance = min(found)
                victims[victim] = distance
        return victims

    def _crowd(self, program: Program) -> frozenset[int]:
        """What lives through the block that costs most."""
        blocks = program.blocks
        outs = live_out(blocks)
        weights = [block.weight * len(block.insts) for block in blocks]
        at = weights.index(max(weights))
        return live_in(blocks[at], outs[at]) & outs[at]

    def _attempt(
        self, spills: Spills, thorough: bool
    ) -> tuple[Allocation | _Failure, Mapping[int, int]]:
        program, slots, origins = with_spills(self.program, spills)
        outs = live_out(program.blocks)
        blocks: list[Block] = []
        cycles = 0
        most = max(block.weight * len(block.insts) for block in program.blocks)
        for block, out in zip(program.blocks, outs, strict=True):
            hot = block.weight * len(block.insts) * _COLD >= most
            found = self._schedule(block, out, thorough and hot)
            cycles += found.cycles * block.weight
            blocks.append(replace(block, insts=list(found.insts)))
        program = replace(program, blocks=tuple(blocks))
        colors = color(program)
        if isinstance(colors, _Failure):
            return colors, origins
        return Allocation(program, colors, slots, cycles), origins

    def _schedule(self, block: Block, out: frozenset[int], thorough: bool) -> Scheduled:
        """Remembered, since most blocks stay as they are from one attempt to the next."""
        mentioned = {r for inst in block.insts for r in (*inst.uses, *inst.defs)}
        limit = len(REGISTERS) - len(out - mentioned)
        inside = out & mentioned
        key = (tuple(block.insts), inside, limit, thorough)
        if key not in self.known:
            self.known[key] = schedule(block, inside, limit, self.pipeline, thorough=thorough)
        return self.known[key]


def color(program: Program) -> dict[int, int] | _Failure:
    """A real register for each virtual one, or who competes. Greedy in the order of the text,
    which is optimal for straight lines."""
    neighbours, partners, order = _interference(program)
    colors: dict[int, int] = {}
    crowds: list[frozenset[int]] = []
    for register in sorted(order, key=lambda r: (r not in program.fixed, order[r])):
        taken = {colors[n] for n in neighbours[register] if n in colors}
        free = [c for c in REGISTERS if c not in taken]
        if register in program.fixed:
            free = [c for c in free if c == program.fixed[register]]
        wished = [colors[p] for p in partners.get(register, ()) if p in colors]
        if not free:
            crowds.append(frozenset({register} | neighbours[register]))
            continue
        colors[register] = next((c for c in wished if c in free), free[0])
    return _Failure(crowds) if crowds else colors


def _interference(
    program: Program,
) -> tuple[dict[int, set[int]], dict[int, list[int]], dict[int, int]]:
    """Who lives at the same time as whom, who is copied to whom, and the order of first writes."""
    neighbours: dict[int, set[int]] = {}
    partners: dict[int, list[int]] = {}
    order: dict[int, int] = {}
    count = 0
    for block, out in zip(program.blocks, live_out(program.blocks), strict=True):
        live = set(out)
        for inst in block.insts:
            for register in real(inst.defs):
                count += 1
                order.setdefault(register, count)
        for inst in reversed(block.insts):
            written = real(inst.defs)
            copied = inst.uses[0] if inst.op == "mov" else None
            for register in written:
                others = (live | set(written)) - {register, copied}
                neighbours.setdefault(register, set()).update(others)
                for other in others:
                    neighbours.setdefault(other, set()).add(register)
            if copied is not None:
                partners.setdefault(copied, []).append(written[0])
                partners.setdefault(written[0], []).append(copied)
            live -= set(inst.defs)
            live |= set(real(inst.uses))
    return neighbours, partners, order
