"""A block prepared for scheduling: what every order of it needs to know.

In: a block's instructions and what is live behind it. Out: a ``Body``: the instructions in an order
that keeps few values, with arrays by their numbers in that order. Registers have numbers of their
own here, dense ones, so that arrays serve for them as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from utvm.codegen.thumb.builder import CONSTANTS
from utvm.codegen.thumb.flow import dependences, live_in, settle, with_post_index
from utvm.codegen.thumb.isa import POST_LIMIT
from utvm.codegen.thumb.machine import FLAGS, SP, Block, Inst, members, real
from utvm.codegen.thumb.ops import MULTIPLY
from utvm.codegen.thumb.pricing import is_load, parts_of

FOREVER = 1 << 30  # how often a register is mentioned that is live behind the block


class Body:
    """By instruction: ``insts``, its ``parts``, the registers ``written`` and ``touched`` (read or
    written), what comes ``after`` it, of how many it waits at first (``waiting``), by how many live
    registers it would begin the block with (``growth``). By register: the instructions that write
    it (``writers``) and mention it (``mentions``), how often it is mentioned (``left``), whether it
    is live on entry (``entry``)."""

    def __init__(self, block: Block, out: int, searched: bool = True) -> None:
        self.block = block
        merged = with_post_index(block.insts, POST_LIMIT)
        order = dependences(merged)
        text = _text(merged, order.before, out, searched)
        self.insts = settle(merged, text, order.floating)
        self.floating = order.floating
        self._depend(text, order.before)
        self.parts = [parts_of(inst) for inst in self.insts]
        self.least = sum(map(len, self.parts))
        self.loads = [is_load(inst) for inst in self.insts]
        self.ordered = [
            load or inst.op in CONSTANTS for load, inst in zip(self.loads, self.insts, strict=True)
        ]
        self.multiplies = [bool(p) and p[-1].kind == MULTIPLY for p in self.parts]
        self.moves = [bool(inst.writes & order.floating) for inst in self.insts]
        self._count_registers(block, out)
        self._depths: list[int] = []

    def _depend(self, text: Sequence[int], before: Sequence[int]) -> None:
        """The dependences by the new numbers."""
        place = {number: at for at, number in enumerate(text)}
        self.waiting = [before[number].bit_count() for number in text]
        self.after: list[list[int]] = [[] for _ in text]
        for at, number in enumerate(text):
            for other in members(before[number]):
                self.after[place[other]].append(at)

    def _count_registers(self, block: Block, out: int) -> None:
        dense: dict[int, int] = {}
        for register in members(block.mentions):
            dense[register] = len(dense)
        self.written = [tuple(dense[d] for d in real(inst.defs)) for inst in self.insts]
        self.touched = [
            tuple(dense[r] for r in dict.fromkeys(real((*inst.uses, *inst.defs))))
            for inst in self.insts
        ]
        entry, behind = set(members(live_in(block, out))), set(members(out))
        self.entry = [register in entry for register in dense]
        self.writers: list[list[int]] = [[] for _ in dense]
        self.mentions: list[list[int]] = [[] for _ in dense]
        for at in range(len(self.insts)):
            for register in self.written[at]:
                self.writers[register].append(at)
            for register in self.touched[at]:
                self.mentions[register].append(at)
        self.left = [
            FOREVER if register in behind else len(self.mentions[number])
            for register, number in dense.items()
        ]
        self.growth = [
            sum(not self.entry[r] for r in self.written[at])
            - sum(self.left[r] == 1 for r in self.touched[at])
            for at in range(len(self.insts))
        ]

    def depths(self) -> list[int]:
        """How many instructions must follow each, at least; loads and constants count as three."""
        if not self._depths:
            self._depths = [0] * len(self.insts)
            for at in reversed(range(len(self.insts))):
                weight = 3 if self.ordered[at] else 1
                longest = max((self._depths[n] for n in self.after[at]), default=0)
                self._depths[at] = weight + longest
        return self._depths


def _text(
    insts: Sequence[Inst], before: Sequence[int], out: int, searched: bool = True
) -> list[int]:
    """The order of the text, but what only serves a later instruction of the block stands right
    before the first that needs it: so few values live at once. If no better order is ``searched``,
    what is the last to need a register stays: it frees one."""
    once = twice = needed = 0
    for inst, those in zip(insts, before, strict=True):
        once, twice = once | inst.writes, twice | (once & inst.writes)
        needed |= those
    shared = twice | out
    last = 0 if searched else _last_reads(insts, out)
    flags_once = sum(FLAGS in inst.defs for inst in insts) == 1
    result: list[int] = []
    done = 0

    def place(at: int) -> None:
        nonlocal done
        for earlier in members(before[at] & ~done):
            if not done >> earlier & 1:
                place(earlier)
        done |= 1 << at
        result.append(at)

    for at, inst in enumerate(insts):
        serves = bool(inst.defs) and not inst.writes & shared and min(inst.defs) >= SP
        if (FLAGS in inst.defs and not flags_once) or last >> at & 1:
            serves = False
        wanted = not serves or not needed >> at & 1
        if wanted and not done >> at & 1:
            place(at)
    return result


def _last_reads(insts: Sequence[Inst], out: int) -> int:
    """The set of the instructions behind which some register that they read is not needed."""
    found, live = 0, out
    for at in range(len(insts) - 1, -1, -1):
        inst = insts[at]
        found |= bool(inst.reads & ~live) << at
        live = live & ~inst.writes | inst.reads
    return found
