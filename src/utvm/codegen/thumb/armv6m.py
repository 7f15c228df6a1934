"""The instructions of Armv6-M (Cortex-M0, M0+) that differ from those of Thumb-2.

Nearly all of them take r0 to r7 only, set the flags, and write one of their operands: such a
register stands first among the used ones, too. So nothing may come between a comparison and its
branch: they are one op here, and so is what replaces a conditional instruction. ``legalize.py``
makes these of Thumb-2's. Source: Armv6-M Architecture Reference Manual (DDI 0419), A6.7.
"""

from __future__ import annotations

from utvm.codegen.thumb.ops import ALU, BRANCH, LOAD, MULTIPLY, SIMPLE, Op

_SOURCE = "source"
_ONE, _TWO = (_SOURCE,), (_SOURCE,) * 2
_FEATURE = "thumb1"

IMMEDIATE = 256
"""MOVS, ADDS, SUBS and CMP take literals below."""
SHORT_IMMEDIATE = 8
"""ADDS and SUBS into another register do."""
STACK_BYTES = 1020
"""Accesses to the stack reach so far."""


def _op(kind: str, text: str, roles: tuple[str, ...] = (), more: int = 0) -> Op:
    return Op(kind, text, roles, _FEATURE, more)


OPS = {
    "t.add": _op(SIMPLE, "adds {d}, {a}, {b}", _TWO),
    "t.addh": _op(SIMPLE, "add {d}, {b}", _TWO),  # any registers, high ones as well
    "t.sub": _op(SIMPLE, "subs {d}, {a}, {b}", _TWO),
    "t.addi": _op(SIMPLE, "adds {d}, {a}, #{i}", _ONE),
    "t.subi": _op(SIMPLE, "subs {d}, {a}, #{i}", _ONE),
    **{f"t.{n}": _op(ALU, n + "s {d}, {b}", _TWO) for n in ("and", "orr", "eor", "bic")},
    **{f"t.{n}": _op(SIMPLE, n + "s {d}, {b}", _TWO) for n in ("lsl", "lsr", "asr")},
    **{f"t.{n}i": _op(SIMPLE, n + "s {d}, {a}, #{i}", _ONE) for n in ("lsl", "lsr", "asr")},
    "t.mul": _op(MULTIPLY, "muls {d}, {b}, {d}", _TWO),
    "t.neg": _op(ALU, "rsbs {d}, {a}, #0", _ONE),
    "t.movi": _op(SIMPLE, "movs {d}, #{i}"),
    "t.const": _op(SIMPLE, ""),  # its text depends on the constant
    **{f"t.ldm{n}": _op(LOAD, "", ("address",), n - 1) for n in (1, 2, 3)},
    "t.branch": _op(BRANCH, "cmp {a}, {b}\nb{k} {t}", _TWO, 1),
    "t.branchi": _op(BRANCH, "cmp {a}, #{i}\nb{k} {t}", _ONE, 1),
    "t.mov": _op(ALU, "cmp {c}, {f}\nb{v} 1f\nmov {d}, {b}\n1:", (_SOURCE,) * 4, 2),
    "t.movl": _op(ALU, "cmp {c}, #{i}\nb{v} 1f\nmov {d}, {b}\n1:", (_SOURCE,) * 3, 2),
    "t.ssat8": _op(
        ALU, "sxtb {e}, {d}\ncmp {e}, {d}\nbeq 1f\nasrs {d}, {d}, #31\nmovs {e}, #127\n"
        "eors {d}, {e}\n1:", _ONE, 3,
    ),
    "t.usat8": _op(
        ALU, "uxtb {e}, {d}\ncmp {e}, {d}\nbeq 1f\nasrs {d}, {d}, #31\nmvns {d}, {d}\n"
        "uxtb {d}, {d}\n1:", _ONE, 3,
    ),
}  # fmt: skip


def offset_fits(offset: int, size: int = 4) -> bool:
    """Whether an access of so many bytes takes this immediate offset."""
    return 0 <= offset < 32 * size and offset % size == 0


def constant_lines(word: int) -> list[str]:
    """The instructions that make a constant in ``{d}``, byte by byte from the highest."""
    if word == word & 0xFF:
        return [f"movs {{d}}, #{word}"]
    inverse = ~word & 0xFFFFFFFF
    if inverse < IMMEDIATE:
        return [f"movs {{d}}, #{inverse}", "mvns {d}, {d}"]
    zeros = (word & -word).bit_length() - 1
    if zeros and word >> zeros < IMMEDIATE:
        return [f"movs {{d}}, #{word >> zeros}", f"lsls {{d}}, {{d}}, #{zeros}"]
    if -word & 0xFFFFFFFF < IMMEDIATE << 8:
        negated = -word & 0xFFFFFFFF
        return [*constant_lines(negated), "rsbs {d}, {d}, #0"]
    if zeros:
        return [*constant_lines(word >> zeros), f"lsls {{d}}, {{d}}, #{zeros}"]
    high = word >> 8
    zeros = (high & -high).bit_length() - 1
    lines = constant_lines(high >> zeros)
    return [*lines, f"lsls {{d}}, {{d}}, #{zeros + 8}", f"adds {{d}}, #{word & 0xFF}"]
