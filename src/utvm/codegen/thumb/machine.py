"""Machine code over virtual registers: what selection makes and every later stage rewrites.

A ``Program`` is a list of basic blocks in the order of their text. A virtual register is a whole
number and a variable, not a value: it may be written many times, which is what accumulators and
walking pointers are. ``FLAGS``, ``SP`` and the registers of ``HIGH`` stand for themselves in
operand lists and are never allocated. Only the last instruction of a block may branch. Sets of
virtual registers are whole numbers, a bit for each (``mask``). Instructions and blocks are equal if
they are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

FLAGS = -1
SP = -2
HIGH = {number: -number for number in (8, 9, 10, 11, 12, 14)}
"""Real registers as instructions name them where they hold what lies beside virtual ones."""


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


@dataclass(frozen=True, eq=False)
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
        return self.uses[1] if self.stores else self.uses[0]

    @cached_property
    def stores(self) -> bool:
        """Whether it writes to memory."""
        return self.op.startswith("str")

    @cached_property
    def reads(self) -> int:
        """The virtual registers that are used."""
        return mask(self.uses)

    @cached_property
    def writes(self) -> int:
        """The virtual registers that are written."""
        return mask(self.defs)

    def renamed(self, to: Mapping[int, int]) -> Inst:
        """The same on other registers."""
        return replace(
            self,
            defs=tuple(to.get(r, r) for r in self.defs),
            uses=tuple(to.get(r, r) for r in self.uses),
        )


@dataclass(frozen=True, eq=False)
class Block:
    """A straight line. ``weight`` is how often it runs when the function is called once, as far as
    that is known; ``comment`` heads it in the text."""

    label: str
    weight: int
    insts: tuple[Inst, ...]
    comment: str = ""

    @cached_property
    def reads(self) -> int:
        """The registers that are read before they are written here."""
        read = written = 0
        for inst in self.insts:
            read |= inst.reads & ~written
            written |= inst.writes
        return read

    @cached_property
    def writes(self) -> int:
        """The registers that are written."""
        written = 0
        for inst in self.insts:
            written |= inst.writes
        return written

    @cached_property
    def mentions(self) -> int:
        """The registers that are read or written."""
        read = 0
        for inst in self.insts:
            read |= inst.reads
        return read | self.writes

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
    """``fixed`` says which real registers some virtual ones must live in: the parameters.
    ``shared`` are the inputs whose memory the results may take, element by element: each value is
    there until it has been used, but must not be loaded again."""

    blocks: tuple[Block, ...]
    fixed: Mapping[int, int]
    names: Mapping[int, str]
    shared: frozenset[str] = frozenset()


def real(registers: tuple[int, ...]) -> tuple[int, ...]:
    """The virtual registers among operands."""
    return tuple(r for r in registers if r >= 0)


def mask(registers: tuple[int, ...]) -> int:
    """The set of the virtual registers among operands."""
    bits = 0
    for register in registers:
        if register >= 0:
            bits |= 1 << register
    return bits


def members(bits: int) -> Iterator[int]:
    """The elements of a set, in ascending order."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low
