"""Thumb-2 instructions to those of Armv6-M.

In: a selected program. Out: the same program in ops of ``armv6m.py``: three operands become a copy
and two, shifts of operands and long immediates instructions of their own, a comparison joins what
depends on it, a high product four products of halves. Copies are taken out again by ``coalesce``
and by the colours that both sides get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from utvm.codegen.thumb.armv6m import IMMEDIATE, SHORT_IMMEDIATE, STACK_BYTES, offset_fits
from utvm.codegen.thumb.flow import live_out
from utvm.codegen.thumb.isa import CONDITIONS
from utvm.codegen.thumb.machine import (
    Block,
    Inst,
    Memory,
    NotSelectableError,
    Program,
    mask,
)

_SIZES = {"ldr": 4, "str": 4, "ldrh": 2, "ldrsh": 2, "strh": 2, "ldrb": 1, "ldrsb": 1, "strb": 1}
_SIGNED = {"ldrsb": ("ldrb", "sxtb"), "ldrsh": ("ldrh", "sxth")}
_SAME = ("mov", "params", "sxtb", "sxth", "uxtb", "uxth")
_COMMUTE = ("and", "orr", "eor", "mul")
_CONSTANT = {"movi": 0, "movw": 0, "mov32": 0, "mvni": 0xFFFFFFFF}


def legalize(program: Program) -> Program:
    """The program in the instructions of Armv6-M."""
    last = max(d for block in program.blocks for inst in block.insts for d in inst.defs)
    outs = live_out(program.blocks)
    blocks: list[Block] = []
    for block, out in zip(program.blocks, outs, strict=True):
        legalizer = _Legalizer(last)
        blocks.append(replace(block, insts=tuple(legalizer.block(block.insts, out))))
        last = legalizer.last
    return replace(program, blocks=tuple(blocks))


class _Legalizer:
    """Rewrites one block. ``dying``: the registers that nobody needs behind the instruction;
    ``compared``: the operands of the comparison whose result is still to be used."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.insts: list[Inst] = []
        self.dying = 0
        self.compared: tuple[int, int | None, int] | None = None

    def block(self, insts: Sequence[Inst], out: int) -> list[Inst]:
        live = out
        dying: list[int] = []
        for inst in reversed(insts):
            dying.append(inst.reads & ~live)
            live = live & ~inst.writes | inst.reads
        for inst, self.dying in zip(insts, reversed(dying), strict=True):
            self._inst(inst)
        return self.insts

    def _new(self) -> int:
        self.last += 1
        return self.last

    def _add(
        self, op: str, dest: int | None, *uses: int, imm: int | None = None, cond: str = ""
    ) -> int:
        result = self._new() if dest is None else dest
        self.insts.append(Inst(op, (result,), uses, imm=imm, cond=cond))
        return result

    def _constant(self, value: int, dest: int | None = None) -> int:
        word = value & 0xFFFFFFFF
        return self._add("t.movi" if word < IMMEDIATE else "t.const", dest, imm=word)

    def _inst(self, inst: Inst) -> None:
        if inst.shift is not None:
            name, amount = inst.shift
            shifted = self._add(f"t.{name}i", None, inst.uses[-1], imm=amount)
            inst = replace(inst, shift=None, uses=(*inst.uses[:-1], shifted))
            self.dying |= 1 << shifted
        if inst.memory is not None:
            self._access(inst)
        elif inst.op in _SAME:
            self.insts.append(inst)
        elif inst.op in _CONSTANT:
            self._constant((inst.imm or 0) ^ _CONSTANT[inst.op], inst.defs[0])
        elif inst.op in ("b", "cmp", "cmpi", "subsi", "movc", "movci"):
            self._conditional(inst)
        else:
            self._arithmetic(inst)

    def _arithmetic(self, inst: Inst) -> None:
        op, uses, imm = inst.op, inst.uses, inst.imm or 0
        dest = inst.defs[0]
        match op:
            case "add" | "sub":
                self._sum(op, dest, *uses)
            case "rsb":
                self._sum("sub", dest, uses[1], uses[0])
            case "addi" if inst.advances and imm < IMMEDIATE:
                self.insts.append(replace(inst, op="t.addi"))
            case "addi" | "subi":
                self._plus(dest, uses[0], imm if op == "addi" else -imm)
            case "rsbi" if imm == 0:
                self._add("t.neg", dest, uses[0])
            case "rsbi":
                self._sum("sub", dest, self._constant(imm), uses[0])
            case "andi" | "orri" | "eori":
                self._onto(op[:-1], dest, uses[0], self._constant(imm))
            case "lsli" | "lsri" | "asri":
                self._add(f"t.{op}", dest, uses[0], imm=imm)
            case "sbfx" | "ubfx":
                first, bits = imm & 0xFFFF, imm >> 16
                upper = self._add("t.lsli", None, uses[0], imm=32 - bits - first)
                self._add("t.asri" if op == "sbfx" else "t.lsri", dest, upper, imm=32 - bits)
            case "and" | "orr" | "eor" | "bic" | "mul" | "lsl" | "lsr" | "asr":
                self._onto(op, dest, *uses)
            case "mla" | "mls":
                product = self._onto("mul", None, *uses[:2])
                self._sum("add" if op == "mla" else "sub", dest, uses[2], product)
            case "smmul":
                self._high(dest, *uses)
            case "ssat" | "usat":
                self._saturated(op, imm, dest, uses[0])
            case _:
                raise NotSelectableError(f"Armv6-M has no {op}")

    def _sum(self, op: str, dest: int, a: int, b: int) -> None:
        """A variable that grows stands first: so it may live in a high register."""
        if op == "add" and dest == b:
            a, b = b, a
        self._add(f"t.{op}", dest, a, b)

    def _plus(self, dest: int, a: int, imm: int) -> None:
        op, size = ("t.addi" if imm >= 0 else "t.subi"), abs(imm)
        if size < SHORT_IMMEDIATE:
            self._add(op, dest, a, imm=size)
            return
        if size >= 2 * IMMEDIATE - 1:
            self._sum("add" if imm > 0 else "sub", dest, a, self._constant(size))
            return
        if dest != a:
            self._add("mov", dest, a)
        while size:
            part = min(size, IMMEDIATE - 1)
            self._add(op, dest, dest, imm=part)
            size -= part

    def _onto(self, op: str, dest: int | None, a: int, b: int) -> int:
        """``dest = a op b`` where the instruction writes its first operand."""
        dest = self._new() if dest is None else dest
        if op in _COMMUTE and dest != a and (dest == b or self._dies(b) > self._dies(a)):
            a, b = b, a
        if dest == b != a:
            result = self._add("mov", None, a)
            self._add(f"t.{op}", result, result, b)
            return self._add("mov", dest, result)
        if dest != a:
            self._add("mov", dest, a)
        return self._add(f"t.{op}", dest, dest, dest if b == a else b)

    def _dies(self, register: int) -> bool:
        return bool(self.dying & mask((register,)))

    def _high(self, dest: int, a: int, b: int) -> None:
        """The high word of a product: those of the halves, of which the lower ones are unsigned.
        No sum of two of them leaves 32 bits."""
        a_low, a_high = self._add("uxth", None, a), self._add("t.asri", None, a, imm=16)
        b_low, b_high = self._add("uxth", None, b), self._add("t.asri", None, b, imm=16)
        low = self._add("mov", None, a_low)
        self._add("t.mul", low, low, b_low)
        self._add("t.mul", b_low, b_low, a_high)
        self._add("t.mul", a_low, a_low, b_high)
        self._add("t.mul", a_high, a_high, b_high)
        self._add("t.lsri", low, low, imm=16)
        self._add("t.add", b_low, b_low, low)
        lower = self._add("uxth", None, b_low)
        self._add("t.add", a_low, a_low, lower)
        self._add("t.asri", b_low, b_low, imm=16)
        self._add("t.asri", a_low, a_low, imm=16)
        self._add("t.add", a_high, a_high, b_low)
        self._add("t.add", dest, a_high, a_low)

    def _saturated(self, op: str, bits: int, dest: int, a: int) -> None:
        if dest != a:
            self._add("mov", dest, a)
        if bits == 8:
            self.insts.append(Inst(f"t.{op}8", (dest, self._new()), (dest,)))
            return
        low, high = (
            (-(1 << bits - 1), (1 << bits - 1) - 1) if op == "ssat" else (0, (1 << bits) - 1)
        )
        for limit, cond in ((low, "lt"), (high, "gt")):
            bound = self._constant(limit)
            self._add("t.mov", dest, dest, bound, dest, bound, cond=cond)

    # Comparisons.

    def _conditional(self, inst: Inst) -> None:
        match inst.op:
            case "cmp":
                self.compared = (inst.uses[0], None, inst.uses[1])
            case "cmpi":
                imm = inst.imm or 0
                if imm < IMMEDIATE:
                    self.compared = (inst.uses[0], imm, -1)
                else:
                    self.compared = (inst.uses[0], None, self._constant(imm))
            case "subsi":
                (register,) = inst.uses
                self._plus(register, register, -(inst.imm or 0))
                self.compared = (register, 0, -1)
            case "b":
                self._branch(inst)
            case _:
                self._move(inst)

    def _branch(self, inst: Inst) -> None:
        if not inst.cond:
            self.insts.append(inst)
            return
        jump = replace(inst, uses=())
        assert self.compared is not None
        first, imm, second = self.compared
        if imm is not None:
            self.insts.append(replace(jump, op="t.branchi", uses=(first,), imm=imm))
        else:
            self.insts.append(replace(jump, op="t.branch", uses=(first, second)))

    def _move(self, inst: Inst) -> None:
        """``dest = source`` under a condition on what was compared."""
        assert self.compared is not None and inst.cond in _CONDITIONS
        first, imm, second = self.compared
        dest = inst.defs[0]
        source = self._constant(inst.imm or 0) if inst.op == "movci" else inst.uses[1]
        if imm is not None:
            self._add("t.movl", dest, dest, source, first, imm=imm, cond=inst.cond)
        else:
            self._add("t.mov", dest, dest, source, first, second, cond=inst.cond)

    # Memory.

    def _access(self, inst: Inst) -> None:
        memory = inst.memory
        assert memory is not None and not memory.post
        if memory.area:
            if memory.offset > STACK_BYTES // 2:
                raise NotSelectableError("too many arguments")
            self.insts.append(inst)
            return
        values = inst.uses[:1] if inst.stores else ()
        base = inst.base
        size = _SIZES[inst.op]
        if memory.scale is not None:
            index = inst.uses[-1]
            if memory.scale:
                index = self._add("t.lsli", None, index, imm=memory.scale)
            self.insts.append(
                replace(inst, uses=(*values, base, index), memory=replace(memory, scale=0))
            )
            return
        if not offset_fits(memory.offset, size):
            moved = self._new()
            self._plus(moved, base, memory.offset)
            base, memory = moved, replace(memory, offset=0)
        self._narrow(inst, (*values, base), memory)

    def _narrow(self, inst: Inst, uses: tuple[int, ...], memory: Memory) -> None:
        """Signed bytes and halfwords are loaded without their sign: only then with an offset."""
        if inst.op not in _SIGNED:
            self.insts.append(replace(inst, uses=uses, memory=memory))
            return
        load, extend = _SIGNED[inst.op]
        raw = self._new()
        self.insts.append(replace(inst, op=load, defs=(raw,), uses=uses, memory=memory))
        self._add(extend, inst.defs[0], raw)


_CONDITIONS = frozenset((*CONDITIONS.values(), "lo", "ls", "hi", "hs"))
