"""The clamp at the end of a kernel in fewer instructions: results above its lower bound.

In: the statements behind a sum that end in a rescale by a shift, a clamp to bounds inside of the
type, and a store. Out: the same with the lower bound taken out of the addend of the rescale, so
that one saturation clamps from below, and from above where the bounds are 2^k - 1 apart. What is
left, an upper clamp and putting the lower bound back, is done for one result, or for a word of
neighbours, four bytes or two of int16, at once.

    byte = min(max((high + a >> s), low), top)    ->    usat(high + (a - (low << s)) >> s)
    four of them                                  ->    uqadd8(word, 255 - top + low), sadd8, str

Of int16, bounds from zero on are kept so: QADD16 is the upper clamp of two results. That no
addition leaves 32 bits is computed, else the statements stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Binary, Buffer, Call, Cast, Expr, Imm, Let, Load, Stmt, Store, Var
from utvm.ir.rewrite import simplify
from utvm.schedule.weighted_sum import Array

I32 = DType.INT32
_FLIP = -0x7F7F7F80
"""The highest bit of each byte, as int32."""
_MOST = 1 << 31


@dataclass(frozen=True, eq=False)
class Clamp:
    """``statements`` end in a store of the result less ``low``, saturated to ``bits``; it is at
    most ``span``. ``constants`` are new ones that they read."""

    statements: tuple[Stmt, ...]
    constants: Mapping[str, Array]
    dtype: DType
    low: int
    span: int

    @property
    def lanes(self) -> int:
        """Results of a word."""
        return 32 // self.dtype.bits

    @property
    def bits(self) -> int:
        """Of the saturation: enough for the span."""
        return self.span.bit_length() if self._exact else self._top.bit_length()

    @property
    def is_done(self) -> bool:
        """Whether the saturation is all there is to do."""
        return self._exact and self.low == 0

    def alone(self, store: Stmt) -> Store:
        """The store of one result, where there are no neighbours."""
        value = value_of(store)
        if self._room:
            value = Call(self._saturating, (value, Imm(self._room)), I32)
        assert isinstance(store, Store)
        return replace(store, value=Cast(self.dtype, value + self._back if self._back else value))

    def packed(self, stores: Sequence[Store]) -> Store:
        """One store in place of those of the neighbours of a word, whose values are not narrowed
        yet."""
        values = [store.value for store in stores]
        if self.lanes == 4:
            values = [pair(*values[:2]), pair(*values[2:])]
        return replace(stores[0], value=self.word(*values), lanes=self.lanes)

    def word(self, lower: Expr, upper: Expr) -> Expr:
        """Two halves of a word of what ``statements`` store, finished."""
        word: Expr = Call("pkhbt", (lower, upper), I32)
        if self._room:
            word = Call(self._saturating, (word, self._each(self._room)), I32)
        if self.lanes == 4 and self._back % 256 == 128:
            return Binary("^", word, Imm(_FLIP))
        adding = "sadd8" if self.lanes == 4 else "sadd16"
        return Call(adding, (word, self._each(self._back)), I32) if self._back else word

    @property
    def _exact(self) -> bool:
        """Whether a saturation keeps the upper bound, too."""
        return self.span & (self.span + 1) == 0

    @property
    def _top(self) -> int:
        """What saturating additions to a result of at least zero reach."""
        return 255 if self.dtype.bits == 8 else int(self.dtype.maximum)

    @property
    def _room(self) -> int:
        """Between the upper bound and that."""
        return 0 if self._exact else self._top - self.span

    @property
    def _back(self) -> int:
        """What is added at last."""
        return self.low - self._room

    @property
    def _saturating(self) -> str:
        return "uqadd8" if self.lanes == 4 else "qadd16"

    def _each(self, value: int) -> Imm:
        """A number in all places of a word."""
        size = self.dtype.bits // 8
        data = (value & (1 << self.dtype.bits) - 1).to_bytes(size, "little") * self.lanes
        return Imm(int.from_bytes(data, "little", signed=True))


def pair(lower: Expr, upper: Expr) -> Expr:
    """A byte above another one."""
    return Binary("|", lower, Binary("<<", upper, Imm(8)))


def value_of(store: Stmt) -> Expr:
    """What a store narrows."""
    assert isinstance(store, Store) and isinstance(store.value, Cast)
    return store.value.value


def is_bounded(statements: Sequence[Stmt]) -> bool:
    """Whether what is stored has bounds inside of its type."""
    match statements[-1]:
        case Store(value=Cast(dtype, Binary("min", Binary("max", _, Imm(low)), Imm(high)))):
            return (int(low), int(high)) != (dtype.minimum, dtype.maximum)
    return False


def read_clamp(
    statements: Sequence[Stmt],
    constants: Mapping[str, Array],
    filters: int,
    acc: Buffer,
    most: int,
) -> Clamp | None:
    """The clamp of statements that read a sum from ``acc``, of a magnitude of at most ``most``, and
    constants by filter; None where they are of another kind, or the type's own bounds are all there
    are."""
    match statements:
        case [
            *before,
            Let(var, Binary(">>", total, shift)),
            Store(
                buffer,
                indices,
                Cast(dtype, Binary("min", Binary("max", Var() as read, Imm(low)), Imm(high))),
                1,
            ),
        ] if read == var and dtype in (DType.INT8, DType.UINT8, DType.INT16):
            least, span = int(low), int(high) - int(low)
            if not is_bounded(statements) or span <= 0:
                return None
            if dtype is DType.INT16 and (least != 0 or span == dtype.maximum):
                return None
            rescale = _Rescale(constants, filters, acc, most)
            lowered = rescale.less(total, shift, least)
            if lowered is None:
                return None
            clamp = Clamp((), rescale.made, dtype, least, span)
            value = Binary("min", Binary("max", var, Imm(0)), Imm((1 << clamp.bits) - 1))
            rescaled = Let(var, Binary(">>", lowered, shift))
            body = (*before, rescaled, Store(buffer, indices, Cast(dtype, value)))
            return replace(clamp, statements=body)
    return None


@dataclass
class _Rescale:
    """Takes the lower bound out of the one addend of a sum; ``made`` are the constants for it."""

    constants: Mapping[str, Array]
    filters: int
    acc: Buffer
    most: int

    def __post_init__(self) -> None:
        self.made: dict[str, Array] = {}

    def less(self, total: Expr, shift: Expr, low: int) -> Expr | None:
        """The sum less ``low << shift``; None where it might leave 32 bits or has no addend that is
        known."""
        if low == 0:
            return total
        terms = list(_terms(total))
        known = [term for term in terms if self._data(term) is not None]
        by = self._data(shift)
        if len(known) != 1 or by is None:
            return None
        (addend,) = known
        data = self._data(addend)
        assert data is not None
        if data.size > 1 and by.size > 1 and not _alike(addend, shift):
            return None
        lower = data - (np.int64(low) << by)
        reach = int(np.abs(lower).max())
        for term in terms:
            if term is not addend:
                largest = self._largest(term)
                if largest is None:
                    return None
                reach += largest
        if reach >= _MOST:
            return None
        changed = self._constant(lower, addend if data.size > 1 else shift, low)
        return simplify(_replaced(total, addend, changed))

    def _constant(self, data: Array, like: Expr, low: int) -> Expr:
        """A literal, or a constant that is read as ``like`` is."""
        if data.size == 1:
            return Imm(int(data[0]))
        assert isinstance(like, Load)
        name = f"{like.buffer.name}_less_{low}".replace("-", "minus_")
        self.made[name] = data.astype(np.int32)
        return replace(like, buffer=Buffer(name, I32, like.buffer.shape, "const"))

    def _data(self, expr: Expr) -> Array | None:
        """All values of a constant: one, or one by filter."""
        match expr:
            case Imm(value):
                return np.array([int(value)], np.int64)
            case Load(buffer, _, 1) if (
                buffer.scope == "const"
                and buffer.name in self.constants
                and buffer.elements in (1, self.filters)
            ):
                return self.constants[buffer.name].reshape(-1).astype(np.int64)
        return None

    def _largest(self, term: Expr) -> int | None:
        """No value of a term of the sum has a greater magnitude."""
        match term:
            case Call("mulhi", (x, multiplier)):
                data = self._data(multiplier)
                return (
                    None if data is None else (self._operand(x) * int(np.abs(data).max()) >> 32) + 1
                )
            case Binary("*", Binary(">>", Load(buffer), Imm(value=31)), Imm(value=int(factor))):
                return abs(factor) if buffer == self.acc else None
            case Binary(">>", Load(buffer), Imm(value=31)) if buffer == self.acc:
                return 1
        return None

    def _operand(self, x: Expr) -> int:
        """The same of what is multiplied: an int32, so where nothing is known, any."""
        match x:
            case Load(buffer) if buffer == self.acc:
                return self.most
            case Binary("*", Load(buffer), Imm(value=int(factor))) if buffer == self.acc:
                return self.most * abs(factor)
        return _MOST


def _terms(total: Expr) -> Iterator[Expr]:
    match total:
        case Binary("+", a, b):
            yield from _terms(a)
            yield from _terms(b)
        case _:
            yield total


def _replaced(total: Expr, old: Expr, new: Expr) -> Expr:
    match total:
        case Binary("+", a, b):
            return Binary("+", _replaced(a, old, new), _replaced(b, old, new))
    return new if total is old else total


def _alike(a: Expr, b: Expr) -> bool:
    """Whether two loads read the same element of arrays of one shape."""
    match a, b:
        case Load(one, indices), Load(other, others):
            return one.shape == other.shape and indices == others
    return False
