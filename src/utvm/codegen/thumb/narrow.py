"""The 16-bit forms of instructions: which registers they ask for, and who should get these.

Most 16-bit forms take r0 to r7 only, and those of arithmetic set the flags, which does not matter
where nobody reads them. In: an allocated program. Out: other real registers for the same values, so
that more instructions are short; the emitter asks which of them have to be written as setting
flags. Source: Armv7-M Architecture Reference Manual (DDI 0403), A5.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from utvm.codegen.thumb.color import color
from utvm.codegen.thumb.flow import live_out
from utvm.codegen.thumb.isa import THUMB2
from utvm.codegen.thumb.machine import Inst, Program, members, real

LOW = 8  # the registers below
_LONG = 20  # a value is worth a low register if it is in a short form once in so many instructions
_LARGEST = {"ldr": (124, 4), "str": (124, 4), "ldrb": (31, 1), "strb": (31, 1), "ldrh": (62, 2),
            "strh": (62, 2)}  # fmt: skip
_STACK_LARGEST = 1020
_TWO_ADDRESS = ("and", "orr", "eor", "bic", "mul", "lsl", "lsr", "asr")
_EXTENSIONS = ("sxtb", "sxth", "uxtb", "uxth")


def is_short(inst: Inst, same: Callable[[int, int], bool] = lambda a, b: True) -> bool:
    """Whether an instruction has a 16-bit form if its registers are low; ``same``: whether two
    virtual registers are one real register."""
    if inst.memory is not None:
        return _is_short_access(inst)
    if inst.shift is not None:
        return False
    op, imm = inst.op, inst.imm or 0
    if op in ("addi", "subi", "addsi", "subsi"):
        return imm < 8 or (imm < 256 and same(inst.defs[0], inst.uses[0]))
    if op in ("movi", "cmpi", "movci"):
        return imm < 256
    if op in ("lsli", "lsri", "asri", "add", "sub", *_EXTENSIONS):
        return True
    if op == "rsbi":
        return imm == 0
    return op in _TWO_ADDRESS and same(inst.defs[0], inst.uses[op == "mul"])


def _is_short_access(inst: Inst) -> bool:
    memory = inst.memory
    assert memory is not None
    if memory.scale is not None:
        return memory.scale == 0
    if memory.post or memory.offset < 0:
        return False
    if memory.area:
        return inst.op in ("ldr", "str") and memory.offset <= _STACK_LARGEST
    most, unit = _LARGEST.get(inst.op, (-1, 1))
    return memory.offset <= most and memory.offset % unit == 0


_FLAG_SETTERS = (
    "addi",
    "subi",
    "movi",
    "lsli",
    "lsri",
    "asri",
    "add",
    "sub",
    "rsbi",
    *_TWO_ADDRESS,
)


def takes_flags(inst: Inst, colors: Mapping[int, int]) -> bool:
    """Whether the 16-bit form of an instruction fits, but sets the flags."""
    if inst.op not in _FLAG_SETTERS:
        return False
    low = all(colors[register] < LOW for register in (*real(inst.defs), *real(inst.uses)))
    return low and is_short(inst, lambda a, b: colors[a] == colors[b])


def compact(program: Program, colors: Mapping[int, int]) -> Mapping[int, int]:
    """Other registers from among the same ones, if that makes more instructions short."""
    used = sorted({colors[r] for b in program.blocks for r in members(b.writes)})
    low = [c for c in used if c < LOW]
    high = [c for c in used if c >= LOW]
    if not high:
        return colors
    outs = live_out(program.blocks)
    short, lengths = _lives(program, outs)
    wishes = {
        register: low + high if short.get(register, 0) * _LONG >= length else high + low[::-1]
        for register, length in lengths.items()
    }
    found = color(program, outs, THUMB2.registers, wishes)
    if isinstance(found, list) or _count(program, found) <= _count(program, colors):
        return colors
    return found


def _lives(program: Program, outs: list[int]) -> tuple[dict[int, int], dict[int, int]]:
    """By register: in how many short forms it is, and over how many instructions it lives."""
    short: dict[int, int] = {}
    lengths: dict[int, int] = {}
    for block, out in zip(program.blocks, outs, strict=True):
        live = out
        for inst in reversed(block.insts):
            for register in members(live | inst.writes):
                lengths[register] = lengths.get(register, 0) + 1
            if is_short(inst):
                for register in members(inst.writes | inst.reads):
                    short[register] = short.get(register, 0) + 1
            live = live & ~inst.writes | inst.reads
    return short, lengths


def _count(program: Program, colors: Mapping[int, int]) -> int:
    """The instructions that are short with these registers."""
    return sum(
        is_short(inst, lambda a, b: colors[a] == colors[b])
        and all(colors[r] < LOW for r in members(inst.writes | inst.reads))
        for block in program.blocks
        for inst in block.insts
    )
