"""Keeps registers on the stack.

In: a program and which of its registers to spill. Out: the program with them stored behind where
they are written and loaded before they are read: once per block, or, where even that is too much,
at each use. Constants are made again instead of loaded, arguments on the stack are read where they
are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from utvm.codegen.thumb.builder import CONSTANTS
from utvm.codegen.thumb.flow import live_out
from utvm.codegen.thumb.machine import SP, Block, Inst, Memory, Program, real


@dataclass(frozen=True)
class Spills:
    """The registers on the stack, in two degrees."""

    by_block: tuple[int, ...] = ()
    by_use: tuple[int, ...] = ()

    def with_(self, register: int, *, crosses: bool) -> Spills:
        """One more, or one of the first degree raised to the second, with which those begin that
        live in one block only."""
        if register in self.by_block or not crosses:
            kept = tuple(r for r in self.by_block if r != register)
            return Spills(kept, (*self.by_use, register))
        return Spills((*self.by_block, register), self.by_use)


def spill_costs(blocks: Sequence[Block]) -> dict[int, int]:
    """What it costs to keep each register on the stack: the blocks that read or write it, as often
    as they run."""
    costs: dict[int, int] = {}
    for block in blocks:
        read: set[int] = set()
        written: set[int] = set()
        for inst in block.insts:
            read |= set(real(inst.uses)) - written
            if inst.op not in (*CONSTANTS, "params"):
                written |= set(real(inst.defs))
            costs |= {r: costs.get(r, 0) for r in real(inst.defs)}
        for register in read:
            costs[register] = costs.get(register, 0) + 2 * block.weight
        for register in written:
            costs[register] = costs.get(register, 0) + block.weight
    return costs


def with_spills(program: Program, spills: Spills) -> tuple[Program, int, dict[int, int]]:
    """The program with registers kept on the stack, the words that takes, and where the registers
    that are new in it come from."""
    if not (spills.by_block or spills.by_use):
        return program, 0, {}
    writers: dict[int, list[Inst]] = {}
    for block in program.blocks:
        for inst in block.insts:
            for register in inst.defs:
                writers.setdefault(register, []).append(inst)
    spilled = (*spills.by_block, *spills.by_use)
    again = {r: writers[r][0] for r in spilled if _remakable(writers[r])}
    slots = {r: at for at, r in enumerate(r for r in spilled if r not in again)}
    rewriter = _Rewriter(spills, slots, again, max(writers), dict(program.fixed))
    outs = live_out(program.blocks)
    blocks = tuple(rewriter.block(b, out) for b, out in zip(program.blocks, outs, strict=True))
    names = dict(program.names)
    for register, origin in rewriter.origins.items():
        if origin in names:
            names[register] = names[origin]
    return Program(blocks, rewriter.fixed, names), len(slots), rewriter.origins


def _remakable(writers: Sequence[Inst]) -> bool:
    """Whether the value is a constant or an argument on the stack."""
    if len(writers) != 1:
        return False
    memory = writers[0].memory
    return writers[0].op in CONSTANTS or (memory is not None and memory.area == "argument")


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
        final = {d: at for at, inst in enumerate(block.insts) for d in inst.defs}
        insts: list[Inst] = []
        for at, inst in enumerate(block.insts):
            if any(d in self.again for d in inst.defs):
                continue
            for use in sorted(set(inst.uses)):
                if use in self.slots or use in self.again:
                    insts += self._loaded(use)
            for register in inst.defs:
                if register in self.slots and register not in self.here:
                    self._fresh(register)
            insts.append(inst.renamed(self.here, self.here))
            for register in inst.defs:
                if register in self.slots:
                    ends = final[register] == at and register in out
                    insts += self._stored(register, ends or register in self.spills.by_use)
            self.here = {r: v for r, v in self.here.items() if r not in self.spills.by_use}
        return replace(block, insts=insts)

    def _loaded(self, register: int) -> list[Inst]:
        if register in self.here:
            return []
        fresh = self._fresh(register)
        if register in self.again:
            return [replace(self.again[register], defs=(fresh,))]
        return [Inst("ldr", (fresh,), (SP,), memory=self._slot(register))]

    def _stored(self, register: int, needed: bool) -> list[Inst]:
        fresh = self.here[register]
        if register in self.fixed:
            self.fixed[fresh] = self.fixed.pop(register)
        return [Inst("str", (), (fresh, SP), memory=self._slot(register))] if needed else []

    def _slot(self, register: int) -> Memory:
        at = 4 * self.slots[register]
        return Memory(at, buffer="@spill", place=at, area="spill")

    def _fresh(self, register: int) -> int:
        self.last += 1
        self.origins[self.last] = register
        self.here[register] = self.last
        return self.last
