"""Allocated programs of Armv6-M as text.

As ``emit.py``, but for what this instruction set asks for: high registers are saved by way of low
ones, conditional branches reach 256 bytes, unconditional ones 2 KB. Where a loop is longer, the
inverse condition jumps over a branch that reaches. The text is in unified syntax, which gcc does
not expect by itself for this core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from utvm.codegen.thumb.allocate import Allocation
from utvm.codegen.thumb.armv6m import constant_lines
from utvm.codegen.thumb.emit import Writer, definition
from utvm.codegen.thumb.isa import INVERSE, OPS
from utvm.codegen.thumb.machine import HIGH, SP, Block, Inst, NotSelectableError
from utvm.codegen.thumb.ops import NOTHING
from utvm.ir.loop import Function

_NEAR, _FAR = 240, 2000  # bytes, with some left over
_MOST_FRAME = 508
_LINK = HIGH[14]


def emit_armv6m(function: Function, symbol: str, allocation: Allocation) -> str:
    """The text of the definition."""
    return definition(function, symbol, _Writer(symbol, allocation).lines())


class _Writer(Writer):
    def __init__(self, symbol: str, allocation: Allocation) -> None:
        blocks = allocation.program.blocks
        written = {d for b in blocks for i in b.insts for d in i.defs}
        used = {allocation.colors[r] for r in written if r in allocation.colors}
        high = {-r for r in written if r < SP}
        super().__init__(symbol, allocation, {r for r in used if r < 8})
        self.link = 14 in high
        self.high = [f"r{n}" for n in range(8, 12) if n in high]
        self.carriers = [f"r{4 + n}" for n in range(len(self.high))]
        self.saved = [f"r{n}" for n in range(4, 8) if f"r{n}" in {*self.saved, *self.carriers}]
        self.pushed = 4 * (len(self.saved) + self.link + len(self.high))
        self.sizes: list[int] = []
        if self.frame > _MOST_FRAME:
            raise NotSelectableError("too many values for a short offset")

    def lines(self) -> Iterator[tuple[str, str]]:
        yield "  .syntax unified", ""
        saved = [*self.saved, *(["lr"] if self.link else [])]
        moves = list(zip(self.carriers, self.high, strict=True))
        if saved:
            yield f"  push {{{', '.join(saved)}}}", ""
        for carrier, register in moves:
            yield f"  mov {carrier}, {register}", ""
        if self.high:
            yield f"  push {{{', '.join(self.carriers)}}}", ""
        if self.frame:
            yield f"  sub sp, #{self.frame}", ""
        yield from self._blocks(self.allocation.program.blocks)
        if self.frame:
            yield f"  add sp, #{self.frame}", ""
        if self.high:
            yield f"  pop {{{', '.join(self.carriers)}}}", ""
        for carrier, register in moves:
            yield f"  mov {register}, {carrier}", ""
        if self.link:
            yield f"  pop {{{', '.join([*self.saved, 'pc'])}}}", ""
            return
        if self.saved:
            yield f"  pop {{{', '.join(self.saved)}}}", ""
        yield "  bx lr", ""

    def _blocks(self, blocks: Sequence[Block]) -> Iterator[tuple[str, str]]:
        """Branches are as long as the text between them asks for, all taken as long ones."""
        targets = {block.target for block in blocks}
        texts = [[line for inst in block.insts for line in self._lines(inst)] for block in blocks]
        ends: dict[str, int] = {}
        begins: dict[str, int] = {}
        at = 0
        for block, lines in zip(blocks, texts, strict=True):
            begins[block.label] = at
            at += 2 * (len(lines) + 1)
            ends[block.label] = at
        for block, lines in zip(blocks, texts, strict=True):
            if block.label in targets:
                yield f"{self._label(block.label)}:", block.comment
            if block.target:
                way = abs(begins[block.target] - ends[block.label])
                lines = [*lines[:-1], *self._jump(lines[-1], way)]
            yield from lines

    def _jump(self, line: tuple[str, str], way: int) -> Iterator[tuple[str, str]]:
        """A branch that reaches its target."""
        text, note = line
        name, label = text.split()
        if way > _FAR:
            raise NotSelectableError("a loop of more than 2 KB")
        if name == "b" or way <= _NEAR:
            yield line
            return
        yield f"  b{INVERSE[name[1:]]} 2f", ""
        yield f"  b {label}", note
        yield "2:", ""

    def _lines(self, inst: Inst) -> Iterator[tuple[str, str]]:
        if OPS[inst.op].kind == NOTHING or self._is_idle(inst):
            return
        texts = self._text(inst, False).split("\n")
        for text in texts:
            label = text.endswith(":")
            note = self._note(inst) if text is texts[-1] and not label else ""
            yield (text if label else f"  {text}"), note

    def _is_idle(self, inst: Inst) -> bool:
        return inst.op == "mov" and self._register(inst.defs[0]) == self._register(inst.uses[0])

    def _text(self, inst: Inst, short: bool) -> str:
        if inst.op == "t.const":
            register = self._register(inst.defs[0])
            return "\n".join(line.format(d=register) for line in constant_lines(inst.imm or 0))
        if inst.op.startswith("t.ldm"):
            return "\n".join(self._words(inst))
        return super()._text(inst, short)

    def _words(self, inst: Inst) -> list[str]:
        """A load of several words, whose registers ascend; else one by one."""
        *names, pointer = (self._register(d) for d in inst.defs)
        numbers = [self.allocation.colors[d] for d in inst.defs[:-1]]
        if numbers == sorted(numbers):
            return [f"ldm {pointer}!, {{{', '.join(names)}}}"]
        loads = [f"ldr {name}, [{pointer}, #{4 * n}]" for n, name in enumerate(names)]
        return [*loads, f"adds {pointer}, #{4 * len(names)}"]
