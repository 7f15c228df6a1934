"""The Thumb-2 instructions that the back end knows, as a table, and its instruction sets.

Per op: its kind for the timing model, what each used register is for, its text, and the feature of
the target that it needs. Braces in the text: ``d``, ``e`` the results, ``a``, ``b``, ``c``, ``f``
the used registers, ``i`` the immediate, ``l`` and ``h`` its halves, ``s`` the shift of the last
operand, ``m`` the address, ``k`` the condition, ``v`` its inverse, ``t`` the target of a branch.
What loop IR has a name for comes from ``utvm.ir.isa``, what only Armv6-M needs from ``armv6m.py``;
the rows here are the others. Source: Armv7-M Architecture Reference Manual (DDI 0403), A7.7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from utvm.codegen.thumb import armv6m
from utvm.codegen.thumb.machine import HIGH, Inst, NotSelectableError
from utvm.codegen.thumb.ops import (
    ALU,
    BRANCH,
    EXTEND,
    LOAD,
    MULTIPLY,
    NARROW,
    NOTHING,
    SATURATE,
    SIMPLE,
    STORE,
    Op,
)
from utvm.ir.isa.table import INSTRUCTIONS
from utvm.target.target import Target

_SOURCE, _ACC = "source", "accumulator"


def _two(name: str) -> Op:
    return Op(SIMPLE if name in ("add", "sub") else ALU, name + " {d}, {a}, {b}{s}", (_SOURCE,) * 2)


def _mac(name: str, feature: str = "dsp") -> Op:
    return Op(MULTIPLY, name + " {d}, {a}, {b}, {c}", (_SOURCE, _SOURCE, _ACC), feature)


def _multiply(name: str, feature: str = "dsp") -> Op:
    return Op(MULTIPLY, name + " {d}, {a}, {b}", (_SOURCE, _SOURCE), feature)


def _extend(name: str) -> Op:
    return Op(EXTEND, name + " {d}, {a}", (_SOURCE,))


_BY_NAME = {
    **{name: _two(name) for name in ("add", "sub", "rsb", "and", "orr", "eor", "bic")},
    "smmla": _mac("smmla"),
    **{name: _mac(name, "thumb2") for name in ("mla", "mls")},
    "smmul": _multiply("smmul"),
    **{f"smul{x}{y}": _multiply(f"smul{x}{y}") for x in "bt" for y in "bt"},
    "mul": _multiply("mul", "thumb2"),
    "smull": Op(MULTIPLY, "smull {d}, {e}, {a}, {b}", (_SOURCE, _SOURCE)),
    "smlal": Op(MULTIPLY, "smlal {d}, {e}, {a}, {b}", (_SOURCE, _SOURCE, _ACC, _ACC)),
    **{name: _extend(name) for name in ("sxtb", "sxth", "uxtb", "uxth")},
    "ssat": Op(SATURATE, "ssat {d}, #{i}, {a}{s}", ("shifted",)),
    "usat": Op(SATURATE, "usat {d}, #{i}, {a}{s}", ("shifted",)),
    **{f"{n}i": Op(SIMPLE, n + " {d}, {a}, #{i}", (_SOURCE,)) for n in ("add", "sub")},
    **{f"{n}i": Op(ALU, n + " {d}, {a}, #{i}", (_SOURCE,)) for n in ("rsb", "and", "orr", "eor")},
    **{f"{n}i": Op(SIMPLE, n + " {d}, {a}, #{i}", (_SOURCE,)) for n in ("lsl", "lsr", "asr")},
    **{n: Op(SIMPLE, n + " {d}, {a}, {b}", (_SOURCE,) * 2) for n in ("lsl", "lsr", "asr")},
    "addsi": Op(SIMPLE, "adds {d}, {a}, #{i}", (_SOURCE,)),
    "subsi": Op(SIMPLE, "subs {d}, {a}, #{i}", (_SOURCE,)),
    "adci": Op(ALU, "adc {d}, {a}, #{i}", (_SOURCE, "flags")),
    "sbfx": Op(EXTEND, "sbfx {d}, {a}, #{l}, #{h}", (_SOURCE,)),
    "ubfx": Op(EXTEND, "ubfx {d}, {a}, #{l}, #{h}", (_SOURCE,)),
    "clz": Op(ALU, "clz {d}, {a}", (_SOURCE,)),
    "mov": Op(SIMPLE, "mov {d}, {a}", (_SOURCE,)),
    "movi": Op(SIMPLE, "mov {d}, #{i}"),
    "mvni": Op(ALU, "mvn {d}, #{i}"),
    "movw": Op(SIMPLE, "movw {d}, #{i}"),
    "mov32": Op(ALU, "movw {d}, #{l}\nmovt {d}, #{h}"),
    "cmp": Op(ALU, "cmp {a}, {b}", (_SOURCE, _SOURCE)),
    "cmpi": Op(ALU, "cmp {a}, #{i}", (_SOURCE,)),
    "movc": Op(SIMPLE, "it {k}\nmov{k} {d}, {b}", (_SOURCE, _SOURCE, "flags")),
    "movci": Op(SIMPLE, "it {k}\nmov{k} {d}, #{i}", (_SOURCE, "flags")),
    "b": Op(BRANCH, "b{k} {t}", ("flags",)),
    "params": Op(NOTHING, ""),
}
_LOADS = {"ldr": LOAD, "ldrb": NARROW, "ldrsb": NARROW, "ldrh": NARROW, "ldrsh": NARROW}
_NAMED = {one.name: Op(one.kind, one.text, one.uses, one.feature) for one in INSTRUCTIONS.values()}
OPS: dict[str, Op] = {
    **_NAMED,
    **_BY_NAME,
    **armv6m.OPS,
    **{name: Op(kind, name + " {d}, {m}", ("address",) * 2) for name, kind in _LOADS.items()},
    **{n: Op(STORE, n + " {a}, {m}", ("data", *("address",) * 2)) for n in ("str", "strb", "strh")},
}

CONDITIONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
UNSIGNED_CONDITIONS = {**CONDITIONS, "<": "lo", "<=": "ls", ">": "hi", ">=": "hs"}
INVERSE = {
    "lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq",
    "lo": "hs", "hs": "lo", "hi": "ls", "ls": "hi",
}  # fmt: skip

OFFSET_LOW, OFFSET_HIGH = -255, 4095
POST_LIMIT = 255


def offset_fits(offset: int, size: int = 4) -> bool:
    """Whether a single access takes this immediate offset."""
    return OFFSET_LOW <= offset <= OFFSET_HIGH


@dataclass(frozen=True)
class InstructionSet:
    """``registers`` hold values; ``slots`` keep what these have no room for, one instruction away
    (high registers as instructions name them). ``fits``: whether an access of a size takes an
    immediate offset. ``legal``: whether selected instructions are those of the set. ``searched``:
    whether the order of instructions matters beyond the registers that it needs."""

    feature: str
    registers: tuple[int, ...]
    slots: tuple[int, ...]
    fits: Callable[[int, int], bool]
    legal: bool
    searched: bool


THUMB2 = InstructionSet(
    "thumb2", (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14), (), offset_fits, True, True
)
ARMV6M = InstructionSet(
    "thumb1", tuple(range(8)), tuple(HIGH[n] for n in (8, 9, 10, 11, 12, 14)),
    armv6m.offset_fits, False, False,
)  # fmt: skip


def instruction_set(target: Target) -> InstructionSet:
    """The instructions that a target has."""
    for found in (THUMB2, ARMV6M):
        if target.has(found.feature):
            return found
    raise NotSelectableError(f"{target.name} has no instruction set of this back end")


def is_modified_immediate(value: int) -> bool:
    """Whether a data-processing instruction takes this 32-bit constant (A5.3.2)."""
    word = value & 0xFFFFFFFF
    low, second = word & 0xFF, word >> 8 & 0xFF
    if word in (low, low * 0x00010001, second * 0x01000100, low * 0x01010101):
        return True
    # Eight bits, the highest of them set, anywhere above: no wrap around the word's end.
    return word >> max(0, word.bit_length() - 8) << max(0, word.bit_length() - 8) == word


def kind_of(inst: Inst) -> str:
    """The kind that the timing rules see: a shifted second operand makes a plain sum an ALU op."""
    kind = OPS[inst.op].kind
    return ALU if kind == SIMPLE and inst.shift else kind


def roles_of(inst: Inst) -> tuple[tuple[int, str], ...]:
    """Each used register with what it is for."""
    roles = OPS[inst.op].roles
    pairs = [(use, roles[at]) for at, use in enumerate(inst.uses)]
    if inst.shift and pairs:
        pairs[-1] = (pairs[-1][0], "shifted")
    return tuple(pairs)
