"""Machine code over virtual registers: what selection makes and every later stage rewrites.

A ``Program`` is a list of basic blocks in the order of their text. A virtual register is a whole
number and a variable, not a value: it may be written many times, which is what accumulators and
walking pointers are. ``FLAGS`` and ``SP`` stand for themselves in operand lists and are never
allocated. Only the last instruction of a block may branch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

FLAGS = -1
SP = -2


class NotSelectableError(Exception):
    """The function uses what this back end has no instructions for; portable C serves it."""


@dataclass(frozen=True)
class Memory:
    """The address of an access: ``base + offset``, or ``base + (index << scale)``.

    ``post`` is added to the base after the access. ``buffer`` names what is accessed and ``form``
    the part of the index that is not constant: accesses of equal form are apart if ``place``, the
    constant part in bytes, tells so. ``area`` is where a stack offset counts from.
    """

    offset: int = 0
    scale: int | None = None
    post: int = 0
    buffer: str = ""
    form: object = None
    place: int = 0
    size: int = 4
    area: str = ""  # 'spill' or 'argument' behind SP


@dataclass(frozen=True)
class Inst:
    """One instruction. ``uses`` are in the order of the op's roles (isa.py).

    A store uses its value, then its base; a register that is read and written stands in both lists.
    ``advances`` marks the addition of a constant to a walking pointer.
    """

    op: str
    defs: tuple[int, ...] = ()
    uses: tuple[int, ...] = ()
    imm: int | None = None
    shift: tuple[str, int] | None = None
    memory: Memory | None = None
    cond: str = ""
    target: str = ""
    comment: str = ""
    advances: bool = False

    @property
    def base(self) -> int:
        """The register that the address of an access begins with."""
        assert self.memory is not None
        return self.uses[1] if self.op.startswith("str") else self.uses[0]

    def renamed(self, defs: Mapping[int, int], uses: Mapping[int, int]) -> Inst:
        """The same on other registers."""
        return replace(
            self,
            defs=tuple(defs.get(r, r) for r in self.defs),
            uses=tuple(uses.get(r, r) for r in self.uses),
        )


@dataclass
class Block:
    """A straight line. ``weight`` is how often it runs when the function is called once, as far as
    that is known; ``comment`` heads it in the text."""

    label: str
    weight: int = 1
    insts: list[Inst] = field(default_factory=list)
    comment: str = ""

    @property
    def target(self) -> str:
        """The label that the last instruction may jump to."""
        return self.insts[-1].target if self.insts else ""

    @property
    def loops(self) -> bool:
        """Whether the block is the whole body of a loop."""
        return self.target == self.label


@dataclass(frozen=True)
class Program:
    """``fixed`` says which real registers some virtual ones must live in: the parameters."""

    blocks: tuple[Block, ...]
    fixed: Mapping[int, int]
    names: Mapping[int, str]


def real(registers: tuple[int, ...]) -> tuple[int, ...]:
    """The virtual registers among operands."""
    return tuple(r for r in registers if r >= 0)
