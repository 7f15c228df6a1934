"""Micro functions without packed words, for cores that have no DSP instructions.

In: a micro function on words of two halfwords or four bytes. Out: the same in plain products, sums
and accesses of one element, or None where it takes an instruction that is none of these. It stays
loop IR of few live values; nothing of Thumb-2 is assumed, only loads of words that need not be
aligned where a word is moved as a whole. Sums of halfwords stay in halfwords, as they do wherever
schedules make them for exact results.

    let x = image[i] lanes 4                let x_0 = int32(image[i]), ..., x_3
    let e = sxtb16(x)                 ->
    acc = smlad(e, w, acc)                  acc = acc + x_0 * int32(int16(w)) + x_2 * (w >> 16)

A constant stays a word, since one load and two instructions take less than two loads of halfwords.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from utvm.ir.dtype import DType
from utvm.ir.isa.table import INSTRUCTIONS
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Call,
    Cast,
    Expr,
    For,
    Function,
    If,
    Imm,
    Let,
    Load,
    Select,
    Stmt,
    Store,
    Var,
)
from utvm.ir.rewrite import expressions, map_statements

I32 = DType.INT32
Pair = tuple[Expr, Expr]

_PRODUCTS: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "smlad": ((0, 0, 1), (1, 1, 1)),
    "smladx": ((0, 1, 1), (1, 0, 1)),
    "smuad": ((0, 0, 1), (1, 1, 1)),
    "smuadx": ((0, 1, 1), (1, 0, 1)),
    "smlsd": ((0, 0, 1), (1, 1, -1)),
    "smusd": ((0, 0, 1), (1, 1, -1)),
    "smlabb": ((0, 0, 1),),
    "smlabt": ((0, 1, 1),),
    "smlatb": ((1, 0, 1),),
    "smlatt": ((1, 1, 1),),
}
"""Which halves of two words are multiplied, and the sign of the product."""
_EXTENDED: Mapping[str, tuple[DType, int]] = {
    "sxtb16": (DType.INT8, 0),
    "sxtb16_ror8": (DType.INT8, 1),
    "uxtb16": (DType.UINT8, 0),
    "uxtb16_ror8": (DType.UINT8, 1),
}
"""Of which type the bytes are, and which of them comes first."""
_HALVES = {"sadd16": "+", "ssub16": "-"}
_PACKED = {"pkhbt": (0, 0), "pkhtb": (1, 1)}
_PAIRS = (*_EXTENDED, *_HALVES, *_PACKED)


def unpacked(function: Function) -> Function | None:
    """The micro function without packed words, or None."""
    unpacker = _Unpacker(_paired_buffers(function.body))
    body = unpacker.body(function.body)
    if unpacker.unknown:
        return None
    return replace(function, body=_without_unused(body))


def _paired_buffers(body: tuple[Stmt, ...]) -> frozenset[str]:
    """The register buffers that hold two halfwords."""
    paired: set[str] = set()

    def note(stmt: Stmt) -> Stmt:
        match stmt:
            case Let(var, value) if _is_pair(value, paired):
                paired.add(var.name)
            case Store(buffer, _, value) if buffer.scope == "register" and _is_pair(value, paired):
                paired.add(buffer.name)
        return stmt

    map_statements(body, note)
    return frozenset(paired)


def _is_pair(value: Expr, paired: set[str]) -> bool:
    match value:
        case Call(name):
            return name in _PAIRS
        case Var(name) | Load(Buffer(name=name, scope="register")):
            return name in paired
    return False


@dataclass
class _Unpacker:
    """``halves`` and ``bytes`` are what is known of words by name; ``unknown`` the instructions
    that have no plain form here."""

    paired: frozenset[str]
    halves: dict[str, Pair] = field(default_factory=dict)
    bytes: dict[str, tuple[DType, Sequence[Expr]]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def body(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        return tuple(new for stmt in body for new in self._stmt(stmt))

    def _stmt(self, stmt: Stmt) -> Sequence[Stmt]:
        match stmt:
            case For(body=inner):
                return (replace(stmt, body=self.body(inner)),)
            case If(_, then, orelse):
                return (replace(stmt, then=self.body(then), orelse=self.body(orelse)),)
            case Alloc(buffer) if buffer.name in self.paired:
                return tuple(Alloc(half) for half in _two(buffer))
            case Let(var, value):
                return self._let(var, value)
            case Store(buffer, indices, value, lanes):
                return self._store(buffer, indices, value, lanes)
        return (stmt,)

    def _let(self, var: Var, value: Expr) -> Sequence[Stmt]:
        if var.name in self.paired:
            self.halves[var.name] = (Var(f"{var.name}_0"), Var(f"{var.name}_1"))
            pairs = zip(self.halves[var.name], self._pair(value), strict=True)
            return tuple(Let(half, own) for half, own in pairs if isinstance(half, Var))
        result: list[Stmt] = [Let(var, self._word(value))]
        match value:
            case Load(Buffer(dtype=dtype), _, 2) if dtype.is_signed:
                self.halves[var.name] = (Var(f"{var.name}_0"), Var(f"{var.name}_1"))
            case Load(Buffer(dtype=dtype), _, 4):
                self.bytes[var.name] = (dtype, [Var(f"{var.name}_{i}") for i in range(4)])
            case Load(_, _, 1) if value.dtype is I32:
                self.halves[var.name] = (Var(f"{var.name}_0"), Var(f"{var.name}_1"))
                result += [
                    Let(Var(f"{var.name}_{i}"), half) for i, half in enumerate(_halves_of(var))
                ]
                return result
            case _:
                return result
        assert isinstance(value, Load)
        for i in range(value.lanes):
            result.append(Let(Var(f"{var.name}_{i}"), _element(value, i)))
        return result

    def _store(
        self, buffer: Buffer, indices: tuple[Expr, ...], value: Expr, lanes: int
    ) -> Sequence[Stmt]:
        if buffer.name in self.paired:
            pairs = zip(_two(buffer), self._pair(value), strict=True)
            return tuple(Store(half, indices, own) for half, own in pairs)
        if lanes == 2 and _is_pair(value, set(self.paired)):
            *outer, last = indices
            pairs_ = enumerate(self._pair(value))
            return tuple(
                Store(buffer, (*outer, last + i), Cast(buffer.dtype, own)) for i, own in pairs_
            )
        return (Store(buffer, indices, self._word(value), lanes),)

    def _word(self, expr: Expr) -> Expr:
        """The expression where its value is needed as one number."""
        match expr:
            case Call(name, args) if name in _PRODUCTS:
                return self._products(name, args)
            case Call(name) if name in _PAIRS:
                low, high = self._pair(expr)
                return Binary("|", Binary("&", low, Imm(0xFFFF)), Binary("<<", high, Imm(16)))
            case Call(name, args, dtype):
                if name in INSTRUCTIONS:
                    self.unknown.add(name)
                return Call(name, tuple(map(self._word, args)), dtype)
            case Binary(op, a, b):
                return Binary(op, self._word(a), self._word(b))
            case Cast(dtype, value):
                return Cast(dtype, self._word(value))
            case Select(condition, a, b):
                return Select(self._word(condition), self._word(a), self._word(b))
            case Var(name) if name in self.paired:
                self.unknown.add(name)
        return expr

    def _products(self, name: str, args: tuple[Expr, ...]) -> Expr:
        a, b = self._pair(args[0]), self._pair(args[1])
        total = self._word(args[2]) if len(args) > 2 else None
        for i, j, sign in _PRODUCTS[name]:
            product = a[i] * b[j]
            if total is not None:
                product = total + product if sign > 0 else total - product
            total = product
        assert total is not None
        return total

    def _pair(self, expr: Expr) -> Pair:
        """The two signed halfwords of a word."""
        match expr:
            case Var(name) if name in self.halves:
                return self.halves[name]
            case Load(Buffer(name=name) as buffer, indices) if name in self.paired:
                first, second = _two(buffer)
                return Load(first, indices), Load(second, indices)
            case Load(Buffer(dtype=DType.INT16), _, 2):
                return _element(expr, 0), _element(expr, 1)
            case Call(name, (word,)) if name in _EXTENDED:
                dtype, number = _EXTENDED[name]
                return self._byte(word, dtype, number), self._byte(word, dtype, number + 2)
            case Call(name, (a, b)) if name in _HALVES:
                pairs = zip(self._pair(a), self._pair(b), strict=True)
                low, high = (_sum(_HALVES[name], x, y) for x, y in pairs)
                return low, high
            case Call("pkhbt", (a, b)):
                return self._pair(a)[0], self._pair(b)[0]
            case Call("pkhtb", (a, b)):
                return self._pair(b)[1], self._pair(a)[1]
            case Imm(0):
                return expr, expr
        return _halves_of(self._word(expr))

    def _byte(self, word: Expr, dtype: DType, number: int) -> Expr:
        if isinstance(word, Var) and word.name in self.bytes:
            known, values = self.bytes[word.name]
            if known is dtype:
                return values[number]
        shifted = Binary(">>", self._word(word), Imm(8 * number)) if number else self._word(word)
        if number == 3 and dtype.is_signed:
            return shifted
        return Cast(I32, Cast(dtype, shifted))


def _sum(op: str, a: Expr, b: Expr) -> Expr:
    return b if op == "+" and a == Imm(0) else Binary(op, a, b)


def _two(buffer: Buffer) -> tuple[Buffer, Buffer]:
    """The register buffers of the halves of one."""
    first, second = (replace(buffer, name=f"{buffer.name}_{i}") for i in range(2))
    return first, second


def _halves_of(word: Expr) -> Pair:
    return Cast(I32, Cast(DType.INT16, word)), word >> 16


def _element(load: Load, number: int) -> Expr:
    """An element of what a load packs."""
    *outer, last = load.indices
    return Cast(I32, Load(load.buffer, (*outer, last + number)))


def _without_unused(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """The body without names that nobody reads."""
    while True:
        read = {e.name for e in expressions(body) if isinstance(e, Var)}
        kept = _reading(body, read)
        if kept == body:
            return body
        body = kept


def _reading(body: tuple[Stmt, ...], read: set[str]) -> tuple[Stmt, ...]:
    result: list[Stmt] = []
    for stmt in body:
        match stmt:
            case Let(var) if var.name not in read:
                continue
            case For(body=inner):
                stmt = replace(stmt, body=_reading(inner, read))
            case If(_, then, orelse):
                stmt = replace(stmt, then=_reading(then, read), orelse=_reading(orelse, read))
        result.append(stmt)
    return tuple(result)
