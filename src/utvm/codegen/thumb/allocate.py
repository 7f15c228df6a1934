"""Scheduling and register allocation together: which values go to the stack, who lives where.

In: a program over virtual registers. Out: its blocks in their final order, and a real register for
each virtual one. Values are spilled whole (stored where they are written, loaded where they are
read), the cheapest first: what lives through an inner loop without use there costs least. More is
spilled as long as the schedules that this makes possible are worth it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from utvm.codegen.thumb.body import Body
from utvm.codegen.thumb.color import color
from utvm.codegen.thumb.crowds import Crowd, crowd_of, rest_of
from utvm.codegen.thumb.flow import live_in, live_out
from utvm.codegen.thumb.isa import THUMB2, InstructionSet
from utvm.codegen.thumb.machine import Block, NotSelectableError, Program, mask, members
from utvm.codegen.thumb.narrow import compact
from utvm.codegen.thumb.schedule import Scheduled, schedule
from utvm.codegen.thumb.spill import Spiller, Spills
from utvm.target.pipeline import Pipeline

_COLD = 50  # a block with less than this part of the hottest one's work is scheduled quickly
_LOCAL = 3  # what lives in one block only frees a register for a short time: it counts so much more
_HIDDEN = 2  # loads and stores cost at least this part of what they cost alone, per issue slot
_TRIES = 2  # values spilled beyond those that must be, to see whether it pays


@dataclass(frozen=True)
class Allocation:
    """``colors`` by virtual register; ``slots``: words on the stack; ``cycles`` of one call, as
    far as the numbers of rounds are known."""

    program: Program
    colors: Mapping[int, int]
    slots: int
    cycles: int


def allocate(program: Program, pipeline: Pipeline, isa: InstructionSet = THUMB2) -> Allocation:
    """The cheapest allocation found."""
    return _Allocator(program, pipeline, isa).run()


class _Allocator:
    def __init__(self, program: Program, pipeline: Pipeline, isa: InstructionSet) -> None:
        self.pipeline = pipeline
        self.isa = isa
        self.spiller = Spiller(program, isa)
        self.costs = self.spiller.costs
        self.remade = mask(tuple(self.spiller.again))
        self.bodies: dict[tuple[Block, int], Body] = {}
        self.known: dict[object, Scheduled] = {}
        self.crossing = 0
        for out in live_out(program.blocks):
            self.crossing |= out
        self.most = max(block.weight * len(block.insts) for block in program.blocks)

    def run(self) -> Allocation:
        """First, blocks keep the order of their text until all values have a place."""
        spills: dict[int, int] = {}
        searched = self.isa.searched
        best: Allocation | None = None
        tries = 0
        thorough = False
        while True:
            result = self._attempt(spills, thorough)
            if isinstance(result, Allocation) and not searched:
                return result
            if isinstance(result, Allocation) and not thorough:
                thorough = True
                continue
            if isinstance(result, Allocation):
                tries += 1
                if best is None or result.cycles < best.cycles:
                    best, tries = result, 0
                victims = self._victims([self._through(spills)], spills, self._gain(spills))
            else:
                victims = self._victims(result, spills)
            if not victims or (best is not None and tries > _TRIES):
                break
            spills |= victims
        if best is None:
            raise NotSelectableError("more values at once than registers")
        return replace(best, colors=compact(best.program, best.colors))

    def _victims(
        self, crowds: Sequence[Crowd], spills: Spills, worth: int = 1 << 60
    ) -> dict[int, int]:
        """As many registers of each crowd as it has too many, with how far each is to be spilled,
        unless that surely costs more than it is ``worth``."""
        victims: dict[int, int] = {}
        origins, limit = self.spiller.origins, worth * _HIDDEN * self.pipeline.width
        for crowd in crowds:
            gaps = {origins.get(register, register): gap for register, gap in crowd.gaps.items()}
            missing = crowd.excess - sum(victims.get(r, gap) < gap for r, gap in gaps.items())
            found: list[tuple[int, int, int]] = []
            for register, gap in gaps.items():
                degree = self.costs.next_degree(register, spills, gap)
                if degree is not None and register not in victims and degree[0] < limit:
                    local = not self.crossing >> register & 1
                    found.append((degree[0] * (_LOCAL if local else 1), register, degree[1]))
            victims |= {r: distance for _, r, distance in sorted(found)[: max(missing, 0)]}
        return victims

    def _hottest(self, spills: Spills) -> tuple[Block, int]:
        """The block that costs most, and what is live behind it."""
        blocks = self.spiller.rewritten(spills)[0].blocks
        outs = live_out(blocks)
        return max(zip(blocks, outs, strict=True), key=lambda b: b[0].weight * len(b[0].insts))

    def _through(self, spills: Spills) -> Crowd:
        """What lives through the hottest block."""
        block, out = self._hottest(spills)
        through = members(live_in(block, out) & out)
        return Crowd({r: rest_of(block.insts, r) for r in through}, 1)

    def _gain(self, spills: Spills) -> int:
        """What the hottest block would gain by some more registers."""
        block, out = self._hottest(spills)
        now = self._schedule(block, out, thorough=True).cycles
        return (now - self._schedule(block, out, True, _TRIES + 1).cycles) * block.weight

    def _attempt(self, spills: Spills, thorough: bool) -> Allocation | list[Crowd]:
        program, slots = self.spiller.rewritten(spills)
        outs = live_out(program.blocks)
        blocks: list[Block] = []
        crowds: list[tuple[int, Crowd]] = []
        cycles = 0
        for block, out in zip(program.blocks, outs, strict=True):
            hot = block.weight * len(block.insts) * _COLD >= self.most
            found = self._schedule(block, out, thorough and hot)
            cycles += found.cycles * block.weight
            blocks.append(replace(block, insts=found.insts))
            if found.pressure + (out & ~block.mentions).bit_count() > len(self.isa.registers):
                crowd = crowd_of(found.insts, out, len(self.isa.registers), self.remade)
                if crowd is not None:
                    crowds.append((-block.weight, crowd))
        if crowds:
            return [crowd for _, crowd in sorted(crowds, key=lambda c: c[0])]
        program = replace(program, blocks=tuple(blocks))
        colors = color(program, outs, self.isa.registers)
        if isinstance(colors, list):
            return colors
        return Allocation(program, colors, slots, cycles)

    def _schedule(self, block: Block, out: int, thorough: bool, spare: int = 0) -> Scheduled:
        """Remembered, since most blocks stay as they are from one attempt to the next; with
        ``spare`` registers more than there are."""
        inside = out & block.mentions
        limit = len(self.isa.registers) + spare - (out & ~inside).bit_count()
        key = (block, inside, limit if thorough else 0)
        if key not in self.known:
            if (block, inside) not in self.bodies:
                self.bodies[block, inside] = Body(block, inside, self.isa.searched)
            body = self.bodies[block, inside]
            self.known[key] = schedule(body, limit, self.pipeline, thorough=thorough)
        return self.known[key]
