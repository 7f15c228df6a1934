"""Keeps registers on the stack.

In: a program and which of its registers to spill, to which degree. Out: the program with them
stored behind where they are written and loaded before they are read. The degree is the distance, in
instructions, over which a spilled register stays in a real one all the same: to the end of the
block, to the next mention nearby, or not at all. Constants are made again instead of loaded,
arguments on the stack and constant memory are read where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from utvm.codegen.thumb.builder import CONSTANTS
from utvm.codegen.thumb.flow import live_out
from utvm.codegen.thumb.machine import SP, Block, Inst, Memory, Program, real

DEGREES = (1 << 30, 24, 0)
Spills = Mapping[int, int]
"""The distance of each register on the stack."""


@dataclass(frozen=True)
class _Mention:
    """Where a block reads or writes a register."""

    at: int
    reads: bool
    writes: bool


class SpillCosts:
    """What each register costs on the stack, by degree: the loads and stores that it adds, as often
    as they run."""

    def __init__(self, program: Program) -> None:
        self._mentions: dict[int, dict[int, list[_Mention]]] = {}
        self._weights = [block.weight for block in program.blocks]
        self._outs = live_out(program.blocks)
        self._made: dict[int, int] = {}
        again = _remakable_registers(program)
        for number, block in enumerate(program.blocks):
            for at, inst in enumerate(block.insts):
                self._made |= {d: 2 * block.weight for d in inst.defs if d in again}
                for register in {*real(inst.uses), *real(inst.defs)}:
                    writes = register in inst.defs and register not in again
                    mention = _Mention(at, register in inst.uses, writes)
                    if inst.op != "params" and (mention.reads or mention.writes):
                        places = self._mentions.setdefault(register, {})
                        places.setdefault(number, []).append(mention)

    def cost(self, register: int, distance: int) -> int:
        """The cycles of loads (two each) and stores."""
        total = 0
        for number, mentions in self._mentions.get(register, {}).items():
            leaves = register in self._outs[number]
            total += self._weights[number] * _block_cost(mentions, distance, leaves)
        return total

    def next_degree(self, register: int, spills: Spills) -> tuple[int, int] | None:
        """The next shorter distance that changes anything, and what it costs more."""
        if register not in self._mentions:
            return None
        now = self._made.get(register, 0)
        if register in spills:
            now = self.cost(register, spills[register])
        for distance in DEGREES:
            if distance < spills.get(register, 1 << 31):
                cost = self.cost(register, distance)
                if cost > now:
                    return distance, cost - now
        return None


def _block_cost(mentions: Sequence[_Mention], distance: int, leaves: bool) -> int:
    cost, here, dirty = 0, False, False
    for at, mention in enumerate(mentions):
        if mention.reads and not here:
            cost += 2
        here, dirty = True, dirty or mention.writes
        last = at + 1 == len(mentions)
        if last:
            cost += dirty and leaves
        elif mentions[at + 1].at - mention.at > distance:
            cost += dirty
            here = dirty = False
    return cost


def with_spills(program: Program, spills: Spills) -> tuple[Program, int, dict[int, int]]:
    """The program with registers kept on the stack, the words that takes, and where the registers
    that are new in it come from."""
    if not spills:
        return program, 0, {}
    makers = _remakable_registers(program)
    again = {r: makers[r] for r in spills if r in makers}
    slots = {r: at for at, r in enumerate(r for r in spills if r not in again)}
    last = max(d for block in program.blocks for inst in block.insts for d in inst.defs)
    rewriter = _Rewriter(spills, slots, again, last, dict(program.fixed))
    outs = live_out(program.blocks)
    blocks = tuple(rewriter.block(b, out) for b, out in zip(program.blocks, outs, strict=True))
    names = dict(program.names)
    for register, origin in rewriter.origins.items():
        if origin in names:
            names[register] = names[origin]
    return Program(blocks, rewriter.fixed, names), len(slots), rewriter.origins


def _remakable_registers(program: Program) -> dict[int, Inst]:
    """The registers whose values need no place on the stack, with what makes them."""
    writers: dict[int, list[Inst]] = {}
    for block in program.blocks:
        for inst in block.insts:
            for register in real(inst.defs):
                writers.setdefault(register, []).append(inst)
    reloads = _reloads(program)
    return {r: by[0] for r, by in writers.items() if r in reloads or _remakable(by)}


def _remakable(writers: Sequence[Inst]) -> bool:
    """Whether the value is a constant or an argument on the stack."""
    if len(writers) != 1:
        return False
    memory = writers[0].memory
    return writers[0].op in CONSTANTS or (memory is not None and memory.area == "argument")


def _reloads(program: Program) -> set[int]:
    """Registers that are loaded once, from memory that nobody writes, and only read in the same
    block while the pointer stays where it was: they can be loaded at each use instead."""
    insts = [inst for block in program.blocks for inst in block.insts]
    stored = {i.memory.buffer for i in insts if i.memory is not None and i.op.startswith("str")}
    result: set[int] = set()
    lost: set[int] = set()
    for block in program.blocks:
        through: dict[int, Inst] = {}
        for inst in block.insts:
            lost |= {use for use in inst.uses if use not in through}
            through = {r: i for r, i in through.items() if not set(i.uses) & set(inst.defs)}
            lost |= set(inst.defs) & result
            if inst.op.startswith("ldr") and inst.memory is not None:
                memory = inst.memory
                if not (memory.area or memory.post or memory.buffer in stored):
                    through[inst.defs[0]] = inst
                    result.add(inst.defs[0])
                    continue
            lost |= set(inst.defs)
    return result - lost


@dataclass
class _Rewriter:
    """``here`` are the registers that stand for spilled ones in the present block, or for the
    present instruction."""

    spills: Spills
    slots: Mapping[int, int]
    again: Mapping[int, Inst]
    last: int
    fixed: dict[int, int]
    origins: dict[int, int] = field(default_factory=dict)
    here: dict[int, int] = field(default_factory=dict)

    def block(self, block: Block, out: frozenset[int]) -> Block:
        self.here = {}
        dirty: set[int] = set()
        mentions: dict[int, list[int]] = {}
        for at, inst in enumerate(block.insts):
            for register in {*inst.uses, *inst.defs} & set(self.spills):
                mentions.setdefault(register, []).append(at)
        insts: list[Inst] = []
        for at, inst in enumerate(block.insts):
            if any(d in self.again for d in inst.defs):
                continue
            for use in sorted(set(inst.uses)):
                if use in self.spills:
                    insts += self._loaded(use)
            for register in inst.defs:
                if register in self.slots:
                    dirty.add(register)
                    if register not in self.here:
                        self._fresh(register)
            insts.append(inst.renamed(self.here, self.here))
            for register in sorted({*inst.uses, *inst.defs} & set(self.here)):
                later = [n for n in mentions[register] if n > at]
                near = bool(later) and later[0] - at <= self.spills[register]
                if not near:
                    if register in dirty and (later or register in out):
                        insts.append(self._stored(register))
                        dirty.discard(register)
                    del self.here[register]
        return replace(block, insts=insts)

    def _loaded(self, register: int) -> list[Inst]:
        if register in self.here:
            return []
        if register in self.again:
            made = self.again[register]
            before = [i for use in made.uses if use in self.spills for i in self._loaded(use)]
            fresh = self._fresh(register)
            return [*before, replace(made.renamed({}, self.here), defs=(fresh,))]
        fresh = self._fresh(register)
        return [Inst("ldr", (fresh,), (SP,), memory=self._slot(register))]

    def _stored(self, register: int) -> Inst:
        return Inst("str", (), (self.here[register], SP), memory=self._slot(register))

    def _slot(self, register: int) -> Memory:
        at = 4 * self.slots[register]
        return Memory(at, buffer="@spill", place=at, area="spill")

    def _fresh(self, register: int) -> int:
        self.last += 1
        self.origins[self.last] = register
        if register in self.fixed:
            self.fixed[self.last] = self.fixed.pop(register)
        self.here[register] = self.last
        return self.last
