"""Allocated programs as text: a naked C function whose body is GNU assembly.

In: blocks with real registers for all virtual ones. Out: the C definition. The function saves what
it uses of r4 to r11 and the link register, reserves its stack, and returns by popping the program
counter. Each line is followed by the names of the values in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from utvm.codegen.c_layout import comment
from utvm.codegen.thumb.allocate import Allocation
from utvm.codegen.thumb.isa import INVERSE, OPS
from utvm.codegen.thumb.machine import FLAGS, SP, Block, Inst
from utvm.codegen.thumb.narrow import takes_flags
from utvm.codegen.thumb.ops import NOTHING
from utvm.ir.loop import Buffer, Function

_LINK = 14
_CALLEE_SAVED = range(4, 12)
_COLUMN = 44
UNUSED = "__attribute__((unused))"


def emit(function: Function, symbol: str, allocation: Allocation) -> str:
    """The text of the definition."""
    used = {allocation.colors[r] for b in allocation.program.blocks for i in b.insts for r in i.defs
            if r in allocation.colors}  # fmt: skip
    return definition(function, symbol, Writer(symbol, allocation, used).lines())


def definition(function: Function, symbol: str, assembly: Iterable[tuple[str, str]]) -> str:
    """The text of a function that is these lines of assembly with their comments."""
    lines = [*comment(function.comment), "/* clang-format off */", *_head(function, symbol)]
    lines.append("  __asm__(")
    body = [_quoted(text, note) for text, note in assembly]
    body[-1] += ");"
    return "\n".join([*lines, *body, "}", "/* clang-format on */"]) + "\n"


def prototype(function: Function, symbol: str) -> str:
    """The declaration."""
    return f"void {symbol}({', '.join(_parameters(function)) or 'void'});"


def _parameters(function: Function) -> list[str]:
    """Nothing is ``restrict``: a result may take the memory of an operand."""
    parameters = [_pointer(buffer, "const ") for buffer in function.inputs]
    parameters += [_pointer(buffer, "") for buffer in function.outputs]
    parameters += [_pointer(buffer, "const ") for buffer in function.constants]
    return parameters + [f"int32_t {var.name}" for var in function.scalars]


def _pointer(buffer: Buffer, qualifier: str) -> str:
    return f"{qualifier}{buffer.dtype.c_name} *{buffer.name}"


def _head(function: Function, symbol: str) -> list[str]:
    """A naked function may not touch its parameters, so they are marked as unused."""
    parameters = [f"    {p} {UNUSED}" for p in _parameters(function)]
    if not parameters:
        return [f"static UTVM_ASSEMBLY void {symbol}(void) {{"]
    head = f"static UTVM_ASSEMBLY void {symbol}("
    return [head, *(f"{p}," for p in parameters[:-1]), f"{parameters[-1]}) {{"]


def _quoted(text: str, note: str) -> str:
    """One line of assembly as a C string, with a C comment behind it."""
    line = f'      "{text}\\n"'
    return f"{line:<{_COLUMN}} /* {note} */" if note else line


class Writer:
    """The lines of a program with their comments."""

    def __init__(self, symbol: str, allocation: Allocation, used: set[int]) -> None:
        self.symbol, self.allocation = symbol, allocation
        self.names = allocation.program.names
        self.saved = [f"r{n}" for n in _CALLEE_SAVED if n in used]
        self.link = _LINK in used
        self.frame = 4 * allocation.slots
        self.pushed = 4 * (len(self.saved) + self.link)

    def lines(self) -> Iterator[tuple[str, str]]:
        if self.pushed:
            yield f"  push {{{', '.join([*self.saved, *(['lr'] if self.link else [])])}}}", ""
        if self.frame:
            yield f"  sub sp, sp, #{self.frame}", ""
        blocks = self.allocation.program.blocks
        targets = {block.target for block in blocks}
        for block in blocks:
            yield from self._block(block, targets)
        if self.frame:
            yield f"  add sp, sp, #{self.frame}", ""
        if self.link:
            yield f"  pop {{{', '.join([*self.saved, 'pc'])}}}", ""
            return
        if self.saved:
            yield f"  pop {{{', '.join(self.saved)}}}", ""
        yield "  bx lr", ""

    def _block(self, block: Block, targets: set[str]) -> Iterator[tuple[str, str]]:
        if block.label in targets:
            yield f"{self._label(block.label)}:", block.comment
        read = _flags_live(block)
        for at, inst in enumerate(block.insts):
            if OPS[inst.op].kind == NOTHING or self._is_idle(inst):
                continue
            short = not read >> at & 1 and takes_flags(inst, self.allocation.colors)
            texts = self._text(inst, short).split("\n")
            for text in texts:
                yield f"  {text}", self._note(inst) if text is texts[-1] else ""

    def _is_idle(self, inst: Inst) -> bool:
        """A copy of a register to itself."""
        colors = self.allocation.colors
        return inst.op == "mov" and colors[inst.defs[0]] == colors[inst.uses[0]]

    def _label(self, label: str) -> str:
        return f".L{self.symbol}_{label}"

    def _register(self, register: int) -> str:
        if register == SP:
            return "sp"
        number = -register if register < 0 else self.allocation.colors[register]
        return "lr" if number == _LINK else f"r{number}"

    def _text(self, inst: Inst, short: bool) -> str:
        """The instruction; in a ``short`` form that sets the flags."""
        defs = [self._register(d) for d in inst.defs if d != FLAGS]
        uses = [self._register(u) for u in inst.uses]
        shift = f", {inst.shift[0]} #{inst.shift[1]}" if inst.shift else ""
        word = inst.imm or 0
        text = OPS[inst.op].text
        return (text.replace(" ", "s ", 1) if short else text).format(
            d=defs[0] if defs else "",
            e=defs[1] if len(defs) > 1 else "",
            a=uses[0] if uses else "",
            b=uses[1] if len(uses) > 1 else "",
            c=uses[2] if len(uses) > 2 else "",
            i=word,
            l=word & 0xFFFF,
            h=word >> 16,
            s=shift,
            f=uses[3] if len(uses) > 3 else "",
            v=INVERSE.get(inst.cond, ""),
            m=self._address(inst) if inst.memory is not None else "",
            k=inst.cond,
            t=self._label(inst.target),
        )

    def _address(self, inst: Inst) -> str:
        memory = inst.memory
        assert memory is not None
        base = self._register(inst.base)
        if memory.scale is not None:
            index = self._register(inst.uses[-1])
            return (
                f"[{base}, {index}, lsl #{memory.scale}]" if memory.scale else f"[{base}, {index}]"
            )
        if memory.post:
            return f"[{base}], #{memory.post}"
        offset = memory.offset
        if memory.area == "argument":
            offset += self.frame + self.pushed
        return f"[{base}, #{offset}]" if offset else f"[{base}]"

    def _note(self, inst: Inst) -> str:
        """The names of the values that the instruction writes and reads."""
        if inst.comment:
            return inst.comment
        written = [self.names[d] for d in inst.defs if d in self.names]
        read = [self.names[u] for u in inst.uses if u in self.names and u not in inst.defs]
        if inst.memory is not None and inst.memory.area == "spill":
            return f"{', '.join(written or read)} on the stack"
        left = ", ".join(dict.fromkeys(written))
        right = ", ".join(dict.fromkeys(read))
        return f"{left} <- {right}" if left and right else left or right


def _flags_live(block: Block) -> int:
    """The set of the places where the flags must stay as they are: between who writes them and who
    reads them, which is in the same block."""
    places, live = 0, False
    for at in range(len(block.insts) - 1, -1, -1):
        inst = block.insts[at]
        if FLAGS in inst.defs:
            live = False
        places |= live << at
        live = live or FLAGS in inst.uses
    return places
