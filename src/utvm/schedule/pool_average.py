"""The average of a window as one multiply-accumulate and one shift, where that is exact.

In: what a pool does with a sum, as an expression, and the sums that there may be. Out: constants
m, a and a shift, such that the result is ``(sum * m + a) >> shift`` within the least and greatest
result; None where there are none. All sums are looked at, so this is proof: a result k begins at
the sum t_k, and ``t_k * m + a`` must have reached k there, but not at the sum before.

Divisions that round halves away from zero are of this form: with m a little above 2^shift / n and a
a little below a half, negative halves fall to the other side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Binary, Cast, Expr, Imm, Select, Var
from utvm.schedule.weighted_sum import Array

SUM = Var("sum")
MOST_FACTOR = (1 << 15) - 1
"""Halfwords are multiplied."""


@dataclass(frozen=True)
class LinearAverage:
    """``low`` and ``high`` are the least and the greatest result."""

    factor: int
    addend: int
    shift: int
    low: int
    high: int


def linear_average(value: Expr, count: int, least: int, most: int) -> LinearAverage | None:
    """For an expression of ``SUM`` that divides by ``count``, and sums from ``least`` to
    ``most``."""
    if least < DType.INT16.minimum or most > DType.INT16.maximum:
        return None
    results = values_of(value, np.arange(least, most + 1, dtype=np.int64))
    if results is None or np.any(np.diff(results) < 0):
        return None
    low, high = int(results[0]), int(results[-1])
    levels = np.arange(low + 1, high + 1, dtype=np.int64)
    begins = np.searchsorted(results, levels) + least
    for shift in range(14 + count.bit_length(), 4, -1):
        for factor in ((1 << shift) // count + more for more in (1, 0, 2)):
            if not 0 < factor <= MOST_FACTOR or high == low:
                continue
            first = int(((levels << shift) - begins * factor).max())
            last = int(((levels << shift) - (begins - 1) * factor).min()) - 1
            reach = max(-least, most) * factor + max(abs(first), abs(last))
            if first <= last and reach < 1 << 31:
                return LinearAverage(factor, _shortest(first, last), shift, low, high)
    return None


def _shortest(first: int, last: int) -> int:
    """Of the numbers from ``first`` to ``last`` the one with most zeros at its end."""
    for bits in range(31, 0, -1):
        rounded = -(-first >> bits) << bits
        if rounded <= last:
            return rounded
    return first


def values_of(expr: Expr, sums: Array) -> Array | None:
    """The value of an expression at every sum; None where it has parts that are not known here."""
    match expr:
        case Var("sum"):
            return sums
        case Imm(value):
            return np.full_like(sums, int(value))
        case Cast(dtype, value) if dtype.is_integer:
            inner = values_of(value, sums)
            return None if inner is None else inner.astype(dtype.numpy).astype(np.int64)
        case Select(condition, a, b):
            parts = [values_of(e, sums) for e in (condition, a, b)]
            chosen, first, second = parts
            if chosen is None or first is None or second is None:
                return None
            return np.where(chosen != 0, first, second)
        case Binary(op, a, b):
            left, right = values_of(a, sums), values_of(b, sums)
            return None if left is None or right is None else _binary(op, left, right)
    return None


def _binary(op: str, a: Array, b: Array) -> Array | None:
    results: dict[str, Callable[[], Array]] = {
        "+": lambda: a + b,
        "-": lambda: a - b,
        "*": lambda: a * b,
        "/": lambda: np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b),
        ">>": lambda: a >> b,
        "min": lambda: np.minimum(a, b),
        "max": lambda: np.maximum(a, b),
        "<": lambda: (a < b).astype(np.int64),
        ">=": lambda: (a >= b).astype(np.int64),
    }
    if op not in results or (op == "/" and np.any(b == 0)):
        return None
    return results[op]()
