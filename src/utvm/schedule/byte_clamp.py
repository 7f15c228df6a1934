"""Clamps of bytes in fewer instructions: the lower bound goes into the addend of the rescale.

In: the epilogue of a kernel that rescales to bytes between two bounds, of which one is not the
type's own. Out: the same with the sum less the lower bound, so that one saturation to zero and to a
power of two is left, and a saturating addition where the upper bound is no such power. Results that
are neighbours, whole words of four, are packed first and share these:

    v = (x + a) >> s                         v = (x + (a - (low << s))) >> s
    out = min(max(v, low), high)      ->     t = usat(v, 8)            four of them to one word
                                             t = uqadd8(t, 255 - (high - low))
                                             out = sadd8(t, high - 255)

Nothing is assumed about the multiplier: that no addition leaves 32 bits is computed from the
weights, else the epilogue stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Binary, Buffer, Call, Cast, Expr, Imm, Let, Load, Stmt, Store, Var
from utvm.ir.rewrite import simplify
from utvm.schedule.weighted_sum import Array, WeightedSum, flat_form, known_bias, largest_sum

I32 = DType.INT32
TOGETHER = 4
"""Results of a word."""


@dataclass(frozen=True)
class ByteClamp:
    """What is left of a clamp to [low, low + span] behind the rescale: ``statements`` end in a
    store of the result less ``low``, saturated to ``bits``; they read ``constants`` beside those of
    the kernel. ``aligned``: neighbours may be stored as words."""

    statements: tuple[Stmt, ...]
    constants: Mapping[str, Array]
    dtype: DType
    low: int
    span: int
    aligned: bool

    @property
    def bits(self) -> int:
        """Of the saturation: enough for the span."""
        return self.span.bit_length() if self._exact else 8

    @property
    def _exact(self) -> bool:
        """Whether the saturation alone keeps the upper bound."""
        return self.span & (self.span + 1) == 0

    def packs(self) -> bool:
        """Whether it pays to pack: there is something to do for four results at a time."""
        return self.aligned and not (self._exact and self.low == 0)

    def alone(self) -> tuple[Stmt, ...]:
        """The epilogue of one result."""
        *others, store = self.statements
        assert isinstance(store, Store)
        value, low = store.value, self.low
        if not self._exact:
            value = Call("uqadd8", (value, Imm(255 - self.span)), I32)
            low = self.low + self.span - 255
        if low:
            value = value + low
        return (*others, Store(store.buffer, store.indices, Cast(self.dtype, value)))

    def packed(self, store: Stmt, lane: int, suffix: str) -> list[Stmt]:
        """The result of a ``lane`` as a byte beside those before it; the last one stores them.
        ``suffix`` tells apart words that are under way at the same time."""
        assert isinstance(store, Store)
        byte, pair = Var(f"byte_{lane}_{suffix}"), Var(f"bytes_{suffix}")
        if lane % 2 == 0:
            return [Let(byte, store.value)]
        both = Binary("|", Var(f"byte_{lane - 1}_{suffix}"), Binary("<<", store.value, Imm(8)))
        if lane == 1:
            return [Let(pair, both)]
        word: Expr = Call("pkhbt", (pair, both), I32)
        low = self.low
        if not self._exact:
            word = Call("uqadd8", (word, _bytes(255 - self.span)), I32)
            low = self.low + self.span - 255
        if low:
            word = Call("sadd8", (word, _bytes(low)), I32)
        (index,) = store.indices
        return [Store(store.buffer, (index - lane,), word, TOGETHER)]


def _bytes(value: int) -> Imm:
    """A word of four equal bytes."""
    return Imm(int.from_bytes(bytes([value & 0xFF] * 4), "little", signed=True))


def byte_clamp(w: WeightedSum, constants: Mapping[str, Array]) -> ByteClamp | None:
    """The clamp at the end of a kernel, or None where there is none or nothing to gain."""
    match w.epilogue:
        case (
            Let(var, Binary(">>", total, Imm(value=int(shift)))),
            Store(buffer, indices, Cast(DType.INT8 | DType.UINT8 as dtype, value), 1),
        ):
            bounds = _bounds(value, var)
        case _:
            return None
    if bounds is None or bounds == (dtype.minimum, dtype.maximum):
        return None
    low, high = bounds
    lowered = _lowered(w, constants, total, low << shift)
    form, filter = flat_form(buffer, indices), w.variables["c"]
    if lowered is None or form is None:
        return None
    apart = (form.constant, *(n for name, n in form.terms if name != filter))
    aligned = form.coefficient(filter) == 1 and all(n % TOGETHER == 0 for n in apart)
    clamp = ByteClamp((), lowered[1], dtype, low, high - low, aligned)
    raw = Binary("min", Binary("max", var, Imm(0)), Imm((1 << clamp.bits) - 1))
    rescaled = Let(var, Binary(">>", lowered[0], Imm(shift)))
    return replace(clamp, statements=(rescaled, Store(buffer, indices, raw)))


def _bounds(value: Expr, var: Var) -> tuple[int, int] | None:
    match value:
        case Binary("min", Binary("max", inner, Imm(value=int(low))), Imm(value=int(high))):
            return (low, high) if inner == var and low < high else None
    return None


def _lowered(
    w: WeightedSum, constants: Mapping[str, Array], total: Expr, by: int
) -> tuple[Expr, Mapping[str, Array]] | None:
    """The sum of a rescale less ``by``, as an expression and new constants; None where it might
    leave 32 bits."""
    biases = known_bias(w.bias, w.filters, constants)
    match total:
        case Binary("+", Binary("+", product, addend), sign):
            less = _most_of_sign(sign, w.acc)
        case Binary("+", product, addend):
            sign, less = Imm(0), 0
        case _:
            return None
    most = _most_of_product(w, constants, product, biases)
    addends = _known(w, addend, constants)
    if most is None or less is None or addends is None:
        return None
    lower = addends.astype(np.int64) - by
    if int(np.abs(lower).max()) + most + less >= 1 << 31:
        return None
    if isinstance(addend, Imm):
        return simplify(Binary("+", Binary("+", product, Imm(int(lower[0]))), sign)), {}
    assert isinstance(addend, Load)
    own = Buffer(f"{addend.buffer.name}_less_{by}", I32, addend.buffer.shape, "const")
    changed = Binary("+", product, Load(own, addend.indices))
    return simplify(Binary("+", changed, sign)), {own.name: lower.astype(np.int32)}


def _most_of_product(
    w: WeightedSum, constants: Mapping[str, Array], product: Expr, biases: Array | None
) -> int | None:
    """No product of a sum and its multiplier has a higher word of a greater magnitude."""
    match product:
        case Call("mulhi", (Binary("*", Load(buffer), Imm(value=int(factor))), multiplier)):
            pass
        case Call("mulhi", (Load(buffer), multiplier)):
            factor = 1
        case _:
            return None
    multipliers = _known(w, multiplier, constants)
    if buffer != w.acc or biases is None or multipliers is None:
        return None
    most = largest_sum(w.weights, w.source.dtype, biases) * factor
    return (most * int(np.abs(multipliers.astype(np.int64)).max()) >> 32) + 1


def _most_of_sign(expr: Expr, acc: Buffer) -> int | None:
    """The magnitude of ``(sum >> 31) * k``, -k or nothing."""
    match expr:
        case Binary("*", Binary(">>", Load(buffer), Imm(value=31)), Imm(value=int(factor))):
            return factor if buffer == acc else None
        case Binary(">>", Load(buffer), Imm(value=31)):
            return 1 if buffer == acc else None
    return None


def _known(w: WeightedSum, expr: Expr, constants: Mapping[str, Array]) -> Array | None:
    """A number for each filter."""
    match expr:
        case Imm(value=int(value)):
            return np.full(w.filters, value, np.int64)
        case Load(buffer, indices, 1) if (
            buffer.name in constants
            and buffer.dtype is I32
            and buffer.elements == w.filters > 1
            and flat_form(buffer, indices) == flat_form(buffer, (Var(w.variables["c"]),))
        ):
            return constants[buffer.name].reshape(-1)
    return None
