"""Rescales of numbers that are known to be small, in fewer instructions.

In: the statements of one element: lets and a store. Out: the same with each rescale by literals
whose operand x is known to be less than 2^30 written out: a rounding high product of 2x, and one
shift with halves away from zero. Lets that are read once are put where they are read, so that
shifts and clamps meet and become one instruction.

    requantize_right(x, m, s)   ->   h = smmulr(2x, m);  (h + (h >> 31) + 2^(s-1)) >> s

``smmulr(2x, m)`` is ``(x * m + 2^30) >> 31``, and no sum leaves 32 bits. Where a choice says that x
is negative, so is h, and its sign need not be looked at. Clamps that cannot act go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from utvm.ir.dtype import DType
from utvm.ir.loop import Binary, Call, Cast, Expr, Imm, Let, Select, Stmt, Store, Var
from utvm.ir.rewrite import expressions, map_expr, simplify, substitute_expr

I32 = DType.INT32
Bounds = tuple[int, int]
MOST = 1 << 30


def shorten(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """``body`` with short rescales and without lets that are read once."""
    return _without_single_lets(_rescaled(body))


def _rescaled(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    shortener = _Shortener()
    for stmt in body:
        shortener.add(stmt)
    return tuple(shortener.result)


@dataclass
class _Shortener:
    """``known`` are the ranges of lets, ``signs`` those on the side of a choice being rewritten."""

    known: dict[str, Bounds] = field(default_factory=dict)
    signs: dict[str, Bounds] = field(default_factory=dict)
    result: list[Stmt] = field(default_factory=list)

    def add(self, stmt: Stmt) -> None:
        match stmt:
            case Let(var, value):
                value = self._value(value)
                self.result.append(Let(var, value))
                if value.dtype.is_integer:
                    self.known[var.name] = bounds(value, self.known)
            case Store(buffer, indices, value, lanes):
                self.result.append(Store(buffer, indices, self._value(value), lanes))
            case _:
                self.result.append(stmt)

    def _value(self, expr: Expr) -> Expr:
        match expr:
            case Select(Binary(">=", Var(name), Imm(value=0)) as condition, a, b):
                low, high = self.known.get(name, (DType.INT32.minimum, DType.INT32.maximum))
                self.signs = {name: (max(low, 0), high)}
                a = map_expr(a, self._change)
                self.signs = {name: (low, min(high, -1))}
                b = map_expr(b, self._change)
                self.signs = {}
                return Select(condition, a, b)
        return map_expr(expr, self._change)

    def _change(self, expr: Expr) -> Expr:
        match expr:
            case Call("requantize" | "requantize_right" as name, (x, Imm(m), Imm(s))):
                right = int(s) if name == "requantize_right" else -int(s)
                return self._rescale(x, int(m), right) or expr
            case Binary("max", a, Imm(limit)) if bounds(a, self.known)[0] >= limit:
                return a
            case Binary("min", a, Imm(limit)) if bounds(a, self.known)[1] <= limit:
                return a
        return expr

    def _rescale(self, x: Expr, multiplier: int, right: int) -> Expr | None:
        low, high = bounds(x, self.known)
        left = 1 << max(-right, 0)
        if -low * left > MOST or high * left >= MOST or multiplier >= 1 << 31:
            return None
        product = _product(x, left, multiplier)
        if right <= 0:
            return product
        var = Var(f"high{len(self.result)}")
        self.result.append(Let(var, product))
        self.known[var.name] = bounds(product, self.known)
        half = 1 << right - 1
        if bounds(product, self.known | self.signs)[1] <= 0:  # all halves go down
            return (var + (half - 1)) >> right
        away = var + (var >> 31)
        if max(map(abs, self.known[var.name])) + half >= 2 * MOST:
            return ((away >> right - 1) + 1) >> 1
        return (away + half) >> right


def _product(x: Expr, left: int, multiplier: int) -> Expr:
    """The rounding high product of ``x * left`` and a multiplier: half of an even number is
    exact."""
    match x:
        case Binary("*", inner, Imm(value=int(factor))):
            base, scale = inner, factor * left
        case _:
            base, scale = x, left
    if multiplier == MOST and scale % 2 == 0:
        return simplify(base * (scale // 2))
    return Call("smmulr", (base * (2 * scale), Imm(multiplier)), I32)


def _without_single_lets(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    reads = Counter(e.name for e in expressions(body) if isinstance(e, Var))
    values: dict[str, Expr] = {}
    result: list[Stmt] = []
    for stmt in body:
        match stmt:
            case Let(var, value):
                value = substitute_expr(value, values)
                if reads[var.name] == 1:
                    values[var.name] = value
                else:
                    result.append(Let(var, value))
            case Store(buffer, indices, value, lanes):
                at = tuple(substitute_expr(index, values) for index in indices)
                result.append(Store(buffer, at, substitute_expr(value, values), lanes))
            case _:
                result.append(stmt)
    return tuple(result)


def bounds(expr: Expr, known: Mapping[str, Bounds]) -> Bounds:
    """The least and the greatest value of an integer expression, as far as its form tells."""
    whole = expr.dtype.minimum, expr.dtype.maximum
    match expr:
        case Imm(value):
            return int(value), int(value)
        case Var(name):
            return known.get(name, whole)
        case Cast(_, value) if value.dtype.is_integer:
            low, high = bounds(value, known)
            return (low, high) if whole[0] <= low and high <= whole[1] else whole
        case Binary("+" | "-" as op, a, b):
            (low, high), (least, most) = bounds(a, known), bounds(b, known)
            sums = (low + least, high + most) if op == "+" else (low - most, high - least)
            return max(sums[0], whole[0]), min(sums[1], whole[1])
        case Binary("*", a, Imm(value=int(factor))):
            ends = sorted(end * factor for end in bounds(a, known))
            return max(ends[0], whole[0]), min(ends[1], whole[1])
        case Binary("min" | "max" as op, a, b):
            pick = min if op == "min" else max
            (low, high), (least, most) = bounds(a, known), bounds(b, known)
            return pick(low, least), pick(high, most)
        case Binary(">>", a, Imm(value=int(amount))):
            low, high = bounds(a, known)
            return low >> amount, high >> amount
        case Select(_, a, b):
            (low, high), (least, most) = bounds(a, known), bounds(b, known)
            return min(low, least), max(high, most)
        case Call("smmulr", (x, Imm(value=int(factor)))):
            ends = sorted((end * factor + (1 << 31)) >> 32 for end in bounds(x, known))
            return ends[0], ends[1]
    return whole
