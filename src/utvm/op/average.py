"""Averages of the elements under a pooling window: how many there are, and how a sum is divided.

Elements outside the image do not count. Where all windows lie inside, the count is a literal, else
the product of one table per axis. Sums of 8-bit integers are divided by multiplying with a
reciprocal, which is exact for all dividends that can occur; other integers keep the division.
"""

from __future__ import annotations

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Binary, Expr, Imm, Let, Load, Select, Stmt, Var
from utvm.ir.rewrite import fold
from utvm.op.definition import Definition, cast

MOST_COUNT = 1 << 16
"""Windows with more elements keep the division."""

RECIPROCAL_BITS = 23
"""The most for which 255.5 times a reciprocal of 1 stays below 2^31."""


def average(
    d: Definition, total: Expr, counts: tuple[np.ndarray, np.ndarray], rounding: str
) -> tuple[tuple[Stmt, ...], Expr]:
    """The statements that prepare ``total / count``, and it, at result row ``y`` and column ``x``.

    ``counts``: elements inside the image by row and by column. ``rounding``: half_away or truncate.
    """
    statements: list[Stmt] = []

    def bind(name: str, value: Expr) -> Expr:
        if isinstance(value, Imm):
            return value
        statements.append(Let(Var(name, value.dtype), value))
        return Var(name, value.dtype)

    count = fold(_axis(d, "rows", "y", counts[0]) * _axis(d, "columns", "x", counts[1]))
    dtype = total.dtype
    if dtype.is_float:
        divisor = Imm(float(count.value), dtype) if isinstance(count, Imm) else cast(count, dtype)
        return (), Binary("/", total, divisor)
    if count == Imm(1):
        return (), total
    count = bind("count", count)
    signed = d.output.dtype.minimum < 0
    if rounding == "half_away":
        half = fold(count >> 1)
        away: Expr = total + half
        if signed:
            total = bind("total", total)
            away = total + Select(Binary("<", total, Imm(0)), fold(Imm(0) - half), half)
        total = away
    reciprocal = _reciprocal(d, count, np.multiply.outer(*map(np.unique, counts)))
    if reciprocal is None:
        return tuple(statements), Binary("/", total, count)
    if signed:
        total = bind("dividend", total)
    quotient = (total * reciprocal) >> RECIPROCAL_BITS
    return tuple(statements), quotient - (total >> 31) if signed else quotient


def _axis(d: Definition, name: str, position: str, counts: np.ndarray) -> Expr:
    """The count along one axis: a literal where it is the same everywhere."""
    if counts.min() == counts.max():
        return Imm(int(counts[0]))
    dtype = np.uint8 if counts.max() < 256 else np.int32
    table = d.table(name, counts.astype(dtype))
    return cast(Load(table, (Var(position),)), DType.INT32)


def _reciprocal(d: Definition, count: Expr, counts: np.ndarray) -> Expr | None:
    """A little more than 2^23 / count, if multiplying by it gives every quotient exactly.

    For a dividend of either sign ``(dividend * reciprocal >> 23) - (dividend >> 31)`` truncates
    towards zero as long as ``|dividend| * (reciprocal * count - 2^23) < 2^23`` and the product fits
    32 bits. A power of two is left to the compiler, which knows that division well.
    """
    if counts.max() > MOST_COUNT:
        return None
    dtype = d.output.dtype
    most = max(abs(dtype.minimum), dtype.maximum)
    one = 1 << RECIPROCAL_BITS
    if isinstance(count, Imm) and int(count.value).bit_count() == 1:
        return None
    divisors = np.arange(1, counts.max() + 1, dtype=np.int64)
    dividends = divisors * most + divisors // 2
    reciprocals = one // divisors + 1
    exact = (dividends * (reciprocals * divisors - one) < one) & (dividends * reciprocals < 1 << 31)
    if not exact[np.unique(counts) - 1].all():
        return None
    if isinstance(count, Imm):
        return Imm(int(reciprocals[int(count.value) - 1]))
    table = d.table("reciprocals", np.append(0, reciprocals).astype(np.int32))
    return Load(table, (count,))
