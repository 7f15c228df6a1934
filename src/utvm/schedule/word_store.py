"""Clamps and stores of a word of neighbouring results at a time: four bytes, two of int16.

In: the statements behind a sum that end in a rescale by a shift, a clamp and a store, and the
constants that they read. Out: the same statements with the lower bound folded into the addend
of the rescale, so that it lies at zero and USAT is the lower clamp; and what packs four such bytes,
limits them from above, puts the bound back and stores them as one word.

    byte = min(max((high + a >> s), low), top)    ->    usat(high + (a - (low << s)) >> s)
    four of them                                  ->    uqadd8(word, 255 - top + low), sadd8, str

Of int16, bounds from zero on are kept so: QADD16 is the upper clamp of two results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Binary, Buffer, Call, Cast, Expr, Imm, Let, Load, Stmt, Store, Var
from utvm.schedule.weighted_sum import Array

I32 = DType.INT32
_FLIP = -0x7F7F7F80
"""The highest bit of each byte, as int32."""
MOST_ADDEND = 1 << 30


@dataclass(frozen=True, eq=False)
class WordStore:
    """``statements`` end in a clamp to 0..255, of int16 to 0..32767; the result is ``low`` more, at
    most ``high``.
    ``constants`` are those of the kernel with the addends that the statements read."""

    statements: tuple[Stmt, ...]
    constants: Mapping[str, Array]
    dtype: DType
    low: int
    high: int

    @property
    def lanes(self) -> int:
        """Results of a word."""
        return 32 // self.dtype.bits

    @property
    def _room(self) -> int:
        """Between the upper bound and what saturating additions reach."""
        return _top(self.dtype) - (self.high - self.low)

    def packed(self, stores: Sequence[Store]) -> Store:
        """One store in place of those of neighbours, whose values are words of what
        ``statements`` store."""
        values = [store.value for store in stores]
        if self.lanes == 4:
            values = [_above(values[1], values[0]), _above(values[3], values[2])]
        word = self._limited(Call("pkhbt", tuple(values), I32))
        return Store(stores[0].buffer, stores[0].indices, word, self.lanes)

    def alone(self, store: Store) -> Store:
        """The store of one result, where there are no neighbours."""
        value = value_of(store)
        if self._room:
            name = "uqadd8" if self.lanes == 4 else "qadd16"
            value = Call(name, (value, Imm(self._room)), I32)
        back = self.low - self._room
        return replace(store, value=Cast(self.dtype, value + back if back else value))

    def _limited(self, word: Expr) -> Expr:
        """The results of a word at most ``high - low``, plus ``low``."""
        add, back = ("uqadd8", "sadd8") if self.lanes == 4 else ("qadd16", "sadd16")
        if self._room:
            word = Call(add, (word, self._each(self._room)), I32)
        more = self.low - self._room
        if self.lanes == 4 and more % 256 == 128:
            return Binary("^", word, Imm(_FLIP))
        return Call(back, (word, self._each(more)), I32) if more else word

    def _each(self, value: int) -> Imm:
        """A number in all places of a word."""
        size = self.dtype.bits // 8
        data = (value & (1 << self.dtype.bits) - 1).to_bytes(size, "little") * self.lanes
        return Imm(int.from_bytes(data, "little", signed=True))


def is_bounded(statements: Sequence[Stmt]) -> bool:
    """Whether what is stored has bounds inside of its type."""
    match statements[-1]:
        case Store(value=Cast(dtype, Binary("min", Binary("max", _, Imm(low)), Imm(high)))):
            return (int(low), int(high)) != (dtype.minimum, dtype.maximum)
    return False


def word_store(
    statements: Sequence[Stmt], constants: Mapping[str, Array], filters: int
) -> WordStore | None:
    """None where statements are of another kind, or where plain stores do as well: those of bytes
    that only the type limits."""
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
            least, most = int(low), int(high)
            if (least, most) == (dtype.minimum, dtype.maximum) or least >= most:
                return None
            if dtype is DType.INT16 and (least != 0 or most == dtype.maximum):
                return None
            found = _Lowered(constants, filters, shift, least)
            lowered = found.lowered(total)
            if lowered is None:
                return None
            value = Binary("min", Binary("max", var, Imm(0)), Imm(_top(dtype)))
            body = (
                *before,
                Let(var, Binary(">>", lowered, shift)),
                Store(buffer, indices, Cast(dtype, value)),
            )
            return WordStore(body, {**constants, **found.made}, dtype, least, most)
    return None


class _Lowered:
    """Takes the lower bound out of the one addend of a sum."""

    def __init__(self, constants: Mapping[str, Array], filters: int, shift: Expr, low: int) -> None:
        self.constants, self.filters, self.shift, self.low = constants, filters, shift, low
        self.made: dict[str, Array] = {}

    def lowered(self, total: Expr) -> Expr | None:
        """The sum with another addend; None where it has none that is known."""
        if self.low == 0:
            return total
        match total:
            case Binary("+", a, b):
                for one, other in ((b, a), (a, b)):
                    addend = self._addend(one)
                    if addend is not None:
                        return Binary("+", other, addend)
                inner = self.lowered(a)
                return None if inner is None else Binary("+", inner, b)
        return None

    def _addend(self, expr: Expr) -> Expr | None:
        """Another constant in place of this one."""
        data, shift = self._data(expr), self._data(self.shift)
        if data is None or shift is None:
            return None
        made = data - (np.int64(self.low) << shift)
        if np.abs(made).max() >= MOST_ADDEND:
            return None
        if made.size == 1:
            return Imm(int(made[0]))
        load = expr if isinstance(expr, Load) else self.shift
        assert isinstance(load, Load)
        if load.buffer.elements != self.filters:
            return None
        name = f"{load.buffer.name}_above_low"
        self.made[name] = made.astype(np.int32)
        buffer = Buffer(name, I32, load.buffer.shape, "const")
        return replace(load, buffer=buffer)

    def _data(self, expr: Expr) -> Array | None:
        match expr:
            case Imm(value):
                return np.array([int(value)], np.int64)
            case Load(buffer) if buffer.scope == "const" and buffer.name in self.constants:
                return self.constants[buffer.name].reshape(-1).astype(np.int64)
        return None


def value_of(store: Store) -> Expr:
    """What a store narrows."""
    assert isinstance(store.value, Cast)
    return store.value.value


def _above(upper: Expr, lower: Expr) -> Expr:
    """A byte above another one."""
    return Binary("|", lower, Binary("<<", upper, Imm(8)))


def _top(dtype: DType) -> int:
    """What saturating additions to a result of at least zero reach."""
    return 255 if dtype.bits == 8 else int(dtype.maximum)
