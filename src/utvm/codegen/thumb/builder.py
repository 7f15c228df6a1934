"""Where selection puts instructions: the blocks so far, new registers, constants.

A constant is made once per straight line; inside an innermost loop it is made before the loop. The
allocator makes it again wherever keeping it would cost more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from utvm.codegen.thumb.isa import (
    ARMV6M,
    OPS,
    InstructionSet,
    instruction_set,
    is_modified_immediate,
)
from utvm.codegen.thumb.machine import Block, Inst, Memory, NotSelectableError
from utvm.target.target import Target

CONSTANTS = ("movi", "mvni", "movw", "mov32", "t.movi", "t.const")
_LEGALIZED = ("smmul",)
"""What Armv6-M does by other instructions, beside all of Thumb-2."""


@dataclass
class Draft:
    """A block that is being written."""

    label: str
    weight: int = 1
    comment: str = ""
    insts: list[Inst] = field(default_factory=list)


@dataclass
class Builder:
    """``block`` takes the next instruction. ``known`` holds the constants at hand; ``preheader``
    is where those of an innermost loop go: a block and a position in it."""

    target: Target
    drafts: list[Draft] = field(default_factory=lambda: [Draft("0")])
    names: dict[int, str] = field(default_factory=dict)
    known: dict[int, int] = field(default_factory=dict)
    preheader: tuple[Draft, int] | None = None
    registers: int = 0

    @property
    def isa(self) -> InstructionSet:
        return instruction_set(self.target)

    @property
    def block(self) -> Draft:
        return self.drafts[-1]

    def blocks(self) -> tuple[Block, ...]:
        """All that has been written."""
        return tuple(Block(d.label, d.weight, tuple(d.insts), d.comment) for d in self.drafts)

    def begin(self, label: str, weight: int, comment: str = "") -> None:
        """Starts the next block."""
        self.drafts.append(Draft(label, weight, comment))
        self.known = {}

    def new(self, name: str = "") -> int:
        self.registers += 1
        if name:
            self.names[self.registers] = name.partition(".")[0]
        return self.registers

    def emit(
        self,
        op: str,
        dest: int | None,
        *uses: int,
        imm: int | None = None,
        shift: tuple[str, int] | None = None,
    ) -> int:
        """An instruction with one result, in ``dest`` or in a new register."""
        if not (self.isa is ARMV6M and op in _LEGALIZED):
            self.require(OPS[op].feature)
        result = self.new() if dest is None else dest
        self.add(Inst(op, (result,), uses, imm, shift))
        return result

    def add(self, inst: Inst) -> None:
        self.block.insts.append(inst)

    def require(self, feature: str) -> None:
        if not (self.target.has(feature) or (feature == "thumb2" and self.isa is ARMV6M)):
            raise NotSelectableError(f"{self.target.name} has no {feature}")

    def load(self, op: str, uses: tuple[int, ...], memory: Memory, dest: int | None) -> int:
        result = self.new() if dest is None else dest
        self.add(Inst(op, (result,), uses, memory=memory))
        return result

    def constant(self, value: int) -> int:
        """A register with this constant; nobody may write it."""
        word = value & 0xFFFFFFFF
        if word not in self.known:
            self.known[word] = self.new()
            inst = constant_inst(self.known[word], word)
            if self.preheader is None:
                self.add(inst)
            else:
                block, at = self.preheader
                block.insts.insert(at, inst)
                self.preheader = (block, at + 1)
        return self.known[word]


def constant_inst(register: int, value: int) -> Inst:
    """The one instruction (MOVW and MOVT count as one) that makes a constant."""
    word = value & 0xFFFFFFFF
    if is_modified_immediate(word):
        return Inst("movi", (register,), imm=word)
    if is_modified_immediate(~word):
        return Inst("mvni", (register,), imm=~word & 0xFFFFFFFF)
    return Inst("movw" if word < 1 << 16 else "mov32", (register,), imm=word)
