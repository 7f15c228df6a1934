"""How each intrinsic of the loop IR becomes instructions: the table ``CALLS``.

The named instructions of ``utvm.ir.isa`` are one each; rounding high products are SMMULR where that
is exact and SMULL with a rounding addition elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from utvm.codegen.thumb.builder import Builder
from utvm.codegen.thumb.machine import FLAGS, Inst, NotSelectableError
from utvm.ir.dtype import DType
from utvm.ir.isa.table import INSTRUCTIONS
from utvm.ir.loop import Expr, Imm


class Values(Protocol):
    """What selects the operands."""

    builder: Builder

    def value(self, expr: Expr, dest: int | None = None) -> int: ...


Selection = Callable[[Values, tuple[Expr, ...], int | None], int]
_INT32_MIN = DType.INT32.minimum


def _plain(op: str) -> Selection:
    """One instruction with the operands in order."""

    def select(values: Values, args: tuple[Expr, ...], dest: int | None) -> int:
        uses = [values.value(arg) for arg in args]
        return values.builder.emit(op, dest, *uses)

    return select


def _mulhi(values: Values, args: tuple[Expr, ...], dest: int | None) -> int:
    """SMMUL, or the upper word of SMULL. Armv6-M has what it makes of SMMUL."""
    build = values.builder
    if build.target.has("dsp") or build.target.has("thumb1"):
        return _plain("smmul")(values, args, dest)
    a, b = (values.value(arg) for arg in args)
    high = build.new() if dest is None else dest
    build.add(Inst("smull", (build.new(), high), (a, b)))
    return high


def _accumulating(op: str, product: str) -> Selection:
    """The same of a multiplication that adds; of one that adds zero, the plain multiplication."""

    def select(values: Values, args: tuple[Expr, ...], dest: int | None) -> int:
        adds = args[2] != Imm(0)
        return _plain(op if adds else product)(values, args if adds else args[:2], dest)

    return select


def _mulhi_rounding(values: Values, args: tuple[Expr, ...], dest: int | None) -> int:
    """(ab + 2^30) >> 31, saturated. SMMULR is (ab + 2^31) >> 32, the same with one factor doubled,
    which a literal below 2^30 can be. Only the least number times itself saturates."""
    build = values.builder
    a, b = (args[1], args[0]) if isinstance(args[0], Imm) else args
    dsp = build.target.has("dsp")
    if not isinstance(b, Imm) or b.value == _INT32_MIN or not build.target.has("thumb2"):
        build.require("dsp")
    if dsp and isinstance(b, Imm) and -(1 << 30) <= b.value < 1 << 30:
        return build.emit("smmulr", dest, values.value(a), build.constant(2 * int(b.value)))
    low, high = build.new(), build.new()
    build.add(Inst("smull", (low, high), (values.value(a), values.value(b))))
    build.add(Inst("addsi", (low, FLAGS), (low,), imm=1 << 30))
    build.add(Inst("adci", (high,), (high, FLAGS), imm=0))
    doubled = build.emit("qadd", None, high, high) if dsp else build.emit("lsli", None, high, imm=1)
    return build.emit("add", dest, doubled, low, shift=("lsr", 31))


def _requantize_right(values: Values, args: tuple[Expr, ...], dest: int | None) -> int:
    """The rounding product, less one where it is negative, shifted by one bit too few, plus one,
    shifted once more: halves go away from zero."""
    shift = args[2]
    if not isinstance(shift, Imm):
        raise NotSelectableError("requantize_right by a variable")
    build = values.builder
    high = _mulhi_rounding(values, args[:2], None)
    away = build.emit("add", None, high, high, shift=("asr", 31))
    if shift.value > 1:
        away = build.emit("asri", None, away, imm=int(shift.value) - 1)
    one_more = build.emit("addi", None, away, imm=1)
    return build.emit("asri", dest, one_more, imm=1)


def mulhi_long(
    values: Values, args: tuple[Expr, ...], addend: Expr | None, dest: int | None
) -> int:
    """The high word of the long product and ``addend``: the low word's part is the sum that SMLAL
    adds to, with its sign as the high word."""
    build = values.builder
    x, high, low = (values.value(arg) for arg in args)
    if build.target.has("dsp"):
        last = build.emit("smmul", None, x, low)
    else:
        last = build.new()
        build.add(Inst("smull", (build.new(), last), (x, low)))
    if addend is None:
        sign = build.emit("asri", None, last, imm=31)
    else:
        sign = build.emit("add", None, values.value(addend), last, shift=("asr", 31))
    build.add(Inst("smlal", (last, sign), (x, high, last, sign)))
    return sign if dest is None else build.emit("mov", dest, sign)


def _mulhi_long(values: Values, args: tuple[Expr, ...], dest: int | None) -> int:
    return mulhi_long(values, args, None, dest)


CALLS: dict[str, Selection] = {
    **{name: _plain(name) for name in (*INSTRUCTIONS, "clz")},
    **{f"smla{x}": _accumulating(f"smla{x}", f"smul{x}") for x in ("bb", "bt", "tb", "tt")},
    **{f"smla{x}": _accumulating(f"smla{x}", f"smua{x}") for x in ("d", "dx")},
    "mulhi": _mulhi,
    "mulhi_long": _mulhi_long,
    "mulhi_rounding": _mulhi_rounding,
    "requantize_right": _requantize_right,
}
