"""What values an integer expression can take, as far as its form tells.

In: an expression and the bounds of variables. Out: its least and greatest value. Used to leave out
extensions of what is in range already.
"""

from __future__ import annotations

from collections.abc import Mapping

from utvm.ir.loop import Binary, Cast, Expr, Imm, Var

Bounds = tuple[int, int]


def bounds(expr: Expr, known: Mapping[str, Bounds]) -> Bounds:
    """The least and the greatest value; those of the type where nothing more is known."""
    whole = expr.dtype.minimum, expr.dtype.maximum
    match expr:
        case Imm(value):
            return int(value), int(value)
        case Var(name):
            return known.get(name, whole)
        case Cast(_, value):
            inner = bounds(value, known) if value.dtype.is_integer else whole
            return inner if _within(inner, whole) else whole
        case Binary("min" | "max" as op, a, b):
            pick = min if op == "min" else max
            (low, high), (least, most) = bounds(a, known), bounds(b, known)
            return pick(low, least), pick(high, most)
        case Binary(">>", a, Imm(value=int(amount))):
            low, high = bounds(a, known)
            return low >> amount, high >> amount
        case Binary("&", _, Imm(value=int(mask))) if mask >= 0:
            return 0, mask
    return whole


def _within(inner: Bounds, outer: Bounds) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]
