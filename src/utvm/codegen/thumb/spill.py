"""Keeps registers on the stack.

In: a program and which of its registers to spill, to which degree. Out: the program with them
stored behind where they are written and loaded before they are read. The degree is the distance, in
instructions, over which a spilled register stays in a real one all the same: to the end of the
block, to the next mention nearby, or not at all. Constants are made again instead of loaded,
arguments on the stack and constant memory are read where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from utvm.codegen.thumb.builder import CONSTANTS
from utvm.codegen.thumb.color import Interference, interference
from utvm.codegen.thumb.flow import live_out
from utvm.codegen.thumb.isa import InstructionSet
from utvm.codegen.thumb.machine import SP, Block, Inst, Memory, Program, mask, members, real

DEGREES = (1 << 30, 24, 0)
Spills = Mapping[int, int]
"""The distance of each register on the stack."""


@dataclass(frozen=True)
class _Mention:
    """Where a block reads or writes a register."""

    at: int
    reads: bool
    writes: bool
    in_place: bool = False
    """Whether the instruction takes it from a slot as well: a sum that grows, a comparison."""


class SpillCosts:
    """What each register costs on the stack, by degree: the loads and stores that it adds, as often
    as they run. ``again``: the registers that can be made again."""

    def __init__(
        self, program: Program, again: Mapping[int, Inst], slots: tuple[int, ...] = ()
    ) -> None:
        self._slots = slots
        self._mentions: dict[int, dict[int, list[_Mention]]] = {}
        self._weights = [block.weight for block in program.blocks]
        self._outs = live_out(program.blocks)
        self._made: dict[int, int] = {}
        self._costs: dict[tuple[int, int], int] = {}
        for number, block in enumerate(program.blocks):
            for at, inst in enumerate(block.insts):
                self._made |= {d: 2 * block.weight for d in inst.defs if d in again}
                for register in members(inst.reads | inst.writes):
                    writes = register in inst.defs and register not in again
                    place = self._slots and takes_slot(inst, register)
                    mention = _Mention(at, register in inst.uses, writes, bool(place))
                    if inst.op != "params" and (mention.reads or mention.writes):
                        places = self._mentions.setdefault(register, {})
                        places.setdefault(number, []).append(mention)

    def cost(self, register: int, distance: int) -> int:
        """The cycles of loads (two each) and stores."""
        known = self._costs.get((register, distance))
        if known is not None:
            return known
        total = 0
        for number, mentions in self._mentions.get(register, {}).items():
            leaves = bool(self._outs[number] >> register & 1)
            total += self._weights[number] * _block_cost(mentions, distance, leaves)
        self._costs[register, distance] = total
        return total

    def traffic(self, register: int) -> int:
        """What the register costs on the stack where it is not taken from there in place."""
        return sum(
            self._weights[number] * (2 * len(mentions) + sum(m.in_place for m in mentions))
            for number, mentions in self._mentions.get(register, {}).items()
        )

    def next_degree(
        self, register: int, spills: Spills, gap: int = 1 << 31
    ) -> tuple[int, int] | None:
        """What spilling it further costs more, and the distance: the next shorter one that changes
        anything and is below ``gap``."""
        if register not in self._mentions:
            return None
        now = self._made.get(register, 0)
        if register in spills:
            now = self.cost(register, spills[register])
        for distance in DEGREES:
            if distance < spills.get(register, 1 << 31) and distance < gap:
                cost = self.cost(register, distance)
                if cost > now:
                    return cost - now, distance
        return None


def _block_cost(mentions: Sequence[_Mention], distance: int, leaves: bool) -> int:
    if all(mention.in_place for mention in mentions):
        return 1
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


class Spiller:
    """Rewrites a program for one choice of spilled registers after the other. ``origins``: which
    register each new one stands for. A block that a choice leaves as it was stays the same block,
    so that what is known about it stays known."""

    def __init__(self, program: Program, isa: InstructionSet) -> None:
        self.program = program
        self.isa = isa
        self.again = remakable_registers(program)
        self.costs = SpillCosts(program, self.again, isa.slots)
        self.origins: dict[int, int] = {}
        self._outs = live_out(program.blocks)
        self._last = max(d for block in program.blocks for inst in block.insts for d in inst.defs)
        self._known: dict[object, Block] = {}

    def rewritten(self, spills: Spills) -> tuple[Program, int]:
        """The program with registers kept on the stack, and the words that takes."""
        high = self.isa.slots
        stored = [r for r in spills if r not in self.again]
        slots = self._shared(stored) if high else {r: at for at, r in enumerate(stored)}
        spilled = mask(tuple(spills))
        fixed = dict(self.program.fixed)
        blocks: list[Block] = []
        for block, out in zip(self.program.blocks, self._outs, strict=True):
            here = tuple(
                (r, spills[r], slots.get(r, 0)) for r in members(spilled & self._within(block))
            )
            key = (block, here)
            if here and key not in self._known:
                rewriter = _Rewriter(dict(spills), slots, self.again, self._new, high)
                self._known[key] = rewriter.block(block, out)
            blocks.append(self._known[key] if here else block)
        for register in {r for r in fixed if spilled >> r & 1}:
            fixed[self._first(blocks[0], register)] = fixed.pop(register)
        names = dict(self.program.names)
        names |= {n: names[origin] for n, origin in self.origins.items() if origin in names}
        words = max(0, 1 + max(slots.values(), default=-1))
        return Program(tuple(blocks), fixed, names, self.program.shared), words

    def _shared(self, stored: Sequence[int]) -> dict[int, int]:
        """Slots that registers share where they never live at once, like their copies if possible;
        who costs most on the stack comes first to those that are no memory, which are negative."""
        found = self._interference
        slots: dict[int, int] = {}
        for register in sorted(stored, key=lambda r: -self.costs.traffic(r)):
            taken = {slot for r, slot in slots.items() if not found.apart(r, register)}
            wished = [slots[p] for p in found.partners.get(register, ()) if p in slots]
            free = (n for n in range(-len(self.isa.slots), len(stored)) if n not in taken)
            slots[register] = next((slot for slot in wished if slot not in taken), next(free))
        return slots

    @cached_property
    def _interference(self) -> Interference:
        return interference(self.program, self._outs)

    def _within(self, block: Block) -> int:
        """The registers that matter to a block: with those that it would make again."""
        within = block.mentions
        for register in members(within):
            if register in self.again:
                within |= self.again[register].reads
        return within

    def _first(self, block: Block, register: int) -> int:
        """The register that a parameter which is spilled arrives in."""
        return next(d for d in block.insts[0].defs if self.origins.get(d, d) == register)

    def _new(self, register: int) -> int:
        self._last += 1
        self.origins[self._last] = register
        return self._last


def takes_slot(inst: Inst, register: int) -> bool:
    """Whether an instruction takes a high register in place of this one."""
    if inst.op in ("t.branch", "mov"):
        return True
    return inst.op in ("t.add", "t.addh") and inst.defs[0] == inst.uses[0]


def remakable_registers(program: Program) -> dict[int, Inst]:
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
    stored = {i.memory.buffer for i in insts if i.memory is not None and i.stores}
    stored |= program.shared
    result = lost = 0
    for block in program.blocks:
        through: dict[int, int] = {}  # the registers that hold a word, and its address
        at_hand = 0
        for inst in block.insts:
            lost |= inst.reads & ~at_hand
            for register in [r for r, address in through.items() if address & inst.writes]:
                del through[register]
                at_hand &= ~(1 << register)
            lost |= inst.writes & result
            memory = inst.memory
            if (
                memory is None
                or inst.stores
                or memory.area
                or memory.post
                or memory.buffer in stored
            ):
                lost |= inst.writes
            else:
                through[inst.defs[0]] = inst.reads
                at_hand |= inst.writes
                result |= inst.writes
    return set(members(result & ~lost))


@dataclass
class _Rewriter:
    """``here`` are the registers that stand for spilled ones at the moment; ``new`` makes one."""

    spills: Spills
    slots: Mapping[int, int]
    again: Mapping[int, Inst]
    new: Callable[[int], int]
    high: tuple[int, ...] = ()
    here: dict[int, int] = field(default_factory=dict)

    def block(self, block: Block, out: int) -> Block:
        dirty: set[int] = set()
        spilled = mask(tuple(self.spills))
        mentions: dict[int, list[int]] = {}
        for at, inst in enumerate(block.insts):
            for register in members((inst.reads | inst.writes) & spilled):
                mentions.setdefault(register, []).append(at)
        insts: list[Inst] = []
        for at, inst in enumerate(block.insts):
            concerned = (inst.reads | inst.writes) & spilled
            if not concerned:
                insts.append(inst)
                continue
            if any(d in self.again and d in self.spills for d in inst.defs):
                continue
            inst = self._in_place(inst)
            concerned = (inst.reads | inst.writes) & spilled
            for use in members(inst.reads & spilled):
                insts += self._loaded(use)
            for register in members(inst.writes & spilled):
                if register in self.slots:
                    dirty.add(register)
                    if register not in self.here:
                        self._fresh(register)
            insts.append(inst.renamed(self.here))
            for register in members(concerned):
                later = next((n for n in mentions[register] if n > at), None)
                if later is None or later - at > self.spills[register]:
                    if register in dirty and (later is not None or out >> register & 1):
                        # A branch writes nothing, and stays last.
                        insts.insert(len(insts) - bool(inst.target), self._stored(register))
                        dirty.discard(register)
                    del self.here[register]
        return replace(block, insts=tuple(insts))

    def _loaded(self, register: int) -> list[Inst]:
        if register in self.here:
            return []
        if register in self.again:
            made = self.again[register]
            before = [i for use in made.uses if use in self.spills for i in self._loaded(use)]
            fresh = self._fresh(register)
            return [*before, replace(made.renamed(self.here), defs=(fresh,))]
        fresh = self._fresh(register)
        if self.slots[register] < 0:
            return [Inst("mov", (fresh,), (self._high(register),))]
        return [Inst("ldr", (fresh,), (SP,), memory=self._slot(register))]

    def _stored(self, register: int) -> Inst:
        if self.slots[register] < 0:
            return Inst("mov", (self._high(register),), (self.here[register],))
        return Inst("str", (), (self.here[register], SP), memory=self._slot(register))

    def _high(self, register: int) -> int:
        """The high register that is the slot of a spilled one."""
        return self.high[self.slots[register] + len(self.high)]

    def _in_place(self, inst: Inst) -> Inst:
        """The instruction with the slots of spilled registers, where it takes these."""
        to = {
            r: self._high(r)
            for r in members(inst.reads | inst.writes)
            if self.slots.get(r, 0) < 0 and r not in self.here and takes_slot(inst, r)
        }
        if not to:
            return inst
        op = "t.addh" if inst.op == "t.add" else inst.op
        return replace(inst.renamed(to), op=op)

    def _slot(self, register: int) -> Memory:
        at = 4 * self.slots[register]
        return Memory(at, buffer="@spill", place=at, area="spill")

    def _fresh(self, register: int) -> int:
        self.here[register] = self.new(register)
        return self.here[register]
