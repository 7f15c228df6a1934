"""Rescales that make up for the bias, so that sums begin with their first product.

In: a kernel's weights, biases and epilogue, which rescales by one multiply-add. Out: an epilogue
with other constants that gives the same results for every sum without bias; or None.

    (mulhi((sum + bias[f]) * 2^k, m[f]) + a[f]) >> s  ->  (mulhi(sum * 2^l, n[f]) + b[f]) >> t

A rescale is known by its steps, the least sums that reach its results; without bias they lie
elsewhere. The addends that keep them all are an interval, which is computed: proof, not sampling.
It is about a hundredth of a step wide, and the bias puts it anywhere, so an addend of one word must
be finer than with a bias: ``l`` is as large as sums allow, mostly 10 to 13. So this serves sums
that are shifted by an instruction. Where weights are shifted in place of sums, by 8 at most, it
rarely would; pixels may be shifted as well there (``raised``), if what makes halfwords of them does
it for nothing. Rescales that bend at zero look at the sign of the sum with its bias, and keep it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Binary, Buffer, Call, Cast, Expr, Imm, Let, Load, Stmt, Var
from utvm.ir.rewrite import expressions
from utvm.schedule.weighted_sum import Array, WeightedSum, known_bias, largest_sum

RAISED = 8
"""How far left a pixel may be shifted in place of sums: a byte in the upper one of a halfword."""
MOST_FILTERS = 1024
MOST_SHIFT = 21
"""Results shifted so far, by a word more, fit int64."""
_PARTS = (2, 1, 0.5, 4, 3, 6, 1.5, 8, 5, 2.5, 10, 12, 16)
_TILTS = (0, *(sign * part for part in _PARTS for sign in (1, -1)))
"""Changes of multipliers that are tried, in units that move the last step by a thousandth of a
sum."""
_LEFTS = 3
"""Left shifts that are tried below the largest."""
_WORD = 1 << 32
_NO_BOUND = 1 << 62
_MOST = 1 << 29
"""Products and addends stay below this, so that neither they nor what is added later overflow."""


def raised_halves(word: Var) -> tuple[Expr, Expr]:
    """Bytes 0 and 2, and 1 and 3 of a word, as the upper bytes of halfwords."""
    lower = Binary("&", Cast(DType.UINT32, word), Imm(0x00FF00FF, DType.UINT32))
    shifted = Cast(DType.INT32, Binary("<<", lower, Imm(RAISED, DType.UINT32)))
    return shifted, Binary("&", word, Imm(-0x00FF0100))


@dataclass(frozen=True, eq=False)
class Unbiased:
    """What takes the place of a kernel's; ``constants`` are those of the new epilogue."""

    epilogue: tuple[Stmt, ...]
    constants: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class _Rescale:
    """``clip((mulhi(acc * scale, multipliers) + addends) >> shifts)``, by filter."""

    let: Let
    scale: int
    multipliers: Array
    addends: Array
    shifts: Array
    low: int
    high: int
    by_filter: int
    """Constants that each filter has of its own."""

    def steps(self) -> tuple[Array, Array]:
        """All results but the least, and the first sum that reaches each; far away where no product
        decides."""
        results = np.arange(self.low + 1, self.high + 1, dtype=np.int64)[:, None]
        targets = np.clip((results << self.shifts) - self.addends, -_MOST * 2, _MOST * 2)
        factors = self.scale * self.multipliers
        quotients = -(-targets * _WORD // np.maximum(factors, 1))
        beyond = np.where(targets <= 0, -_WORD, _WORD)
        return results, np.where(factors == 0, beyond, np.clip(quotients, -_WORD, _WORD))


def unbiased(
    weights: Array,
    biases: Array,
    pixels: DType,
    acc: Buffer,
    epilogue: tuple[Stmt, ...],
    constants: Mapping[str, Array],
    index: Expr,
    free: int = 1,
    raised: bool = False,
) -> Unbiased | None:
    """The rescale of sums of ``weights`` [filters, ...] without their biases; ``index`` is a filter
    in the kernel's loop variables. None where there is no such rescale, where sums take no shift by
    an instruction (as those by ``free``), and where all that filters have of their own is a bias:
    then it would be an addend.

    ``raised``: pixels are shifted by ``RAISED`` and weights of int16 by the rest, so that none of
    it takes an instruction."""
    filters = len(weights)
    rescale = _read(epilogue, acc, constants, filters)
    if rescale is None or (rescale.scale <= free and not raised) or not 1 < filters <= MOST_FILTERS:
        return None
    flat = weights.reshape(filters, -1).astype(np.int64)
    ends = flat * pixels.minimum, flat * pixels.maximum
    least, most = np.minimum(*ends).sum(axis=1), np.maximum(*ends).sum(axis=1)
    results, steps = rescale.steps()
    room = 31 - largest_sum(weights, pixels, np.zeros(1)).bit_length()
    if raised:
        room = min(room, RAISED + 15 - int(np.abs(flat).max()).bit_length())
    search = _Search(rescale, least, most, results, steps - biases.astype(np.int64), room)
    if not search.found(RAISED if raised else 1):
        return None
    made: dict[str, Array] = {}

    def constant(name: str, data: Array) -> Expr:
        if np.all(data == data[0]):
            return Imm(int(data[0]))
        made[name] = data.astype(np.int32)
        return Load(Buffer(name, DType.INT32, (filters,), "const"), (index,))

    multiplier = constant("unbiased_multiplier", search.multipliers)
    addend = constant("unbiased_addend", search.addends)
    shift = constant("unbiased_shift", search.shifts)
    if len(made) > rescale.by_filter:
        return None
    total = Call("mulhi", (Load(acc) * (1 << search.left), multiplier), DType.INT32) + addend
    let = Let(rescale.let.var, Binary(">>", total, shift))
    body = tuple(let if stmt is rescale.let else stmt for stmt in epilogue)
    return Unbiased(body, made)


class _Search:
    """Looks for multipliers and addends by filter. ``least`` and ``most`` are the sums that occur,
    ``steps`` those at which results begin, ``room`` how far left sums may be shifted."""

    def __init__(
        self,
        rescale: _Rescale,
        least: Array,
        most: Array,
        results: Array,
        steps: Array,
        room: int,
    ) -> None:
        self.room = room
        self.least, self.most, self.results, self.steps = least, most, results, steps
        self.real = rescale.scale * rescale.multipliers / _WORD / np.exp2(rescale.shifts)
        self.multipliers, self.addends = np.zeros_like(least), np.zeros_like(least)
        self.missing = np.ones(len(least), bool)
        self.left, self.shifts = rescale.scale.bit_length() - 1, rescale.shifts

    def found(self, fewest: int) -> bool:
        """Whether every filter has its numbers, for a left shift of at least ``fewest``: the
        largest is the finest, but products may be too large."""
        least, shifts = self.left, self.shifts
        most = min(self.room, MOST_SHIFT - int(shifts.min()) + least)
        for left in range(most, max(least, most - _LEFTS, fewest) - 1, -1):
            finest = np.minimum(shifts + (left - least), MOST_SHIFT)
            # One shift is a literal, which saturating instructions take for nothing.
            for chosen in (np.full_like(finest, finest.min()), finest):
                if self._are_found(left, chosen):
                    return True
        return False

    def _are_found(self, left: int, shifts: Array) -> bool:
        self.left, self.shifts = left, shifts
        self.missing[:] = True
        for tilt in _TILTS:
            self._try(tilt)
            if not self.missing.any():
                return True
        return False

    def _try(self, tilt: float) -> None:
        """Multipliers near the real ones for the filters that have none yet."""
        at = np.flatnonzero(self.missing)
        least, most, steps = self.least[at], self.most[at], self.steps[:, at]
        nearest = np.ldexp(self.real[at], 32 + self.shifts[at] - self.left)
        unit = np.maximum(nearest * self.real[at] / (1 << 18), 1)
        multipliers = np.round(nearest + tilt * unit).astype(np.int64)
        multipliers = np.where(least == most, 0, np.clip(multipliers, 0, (1 << 31) - 1))
        factors = multipliers << self.left
        targets = self.results << (self.shifts[at] + 32)
        reached = targets - np.clip(steps, least, most) * factors
        missed = targets - 1 - (np.clip(steps, least + 1, most + 1) - 1) * factors
        low = np.where(steps <= most, reached, -_NO_BOUND).max(axis=0)
        high = np.where(steps > least, missed, _NO_BOUND).min(axis=0)
        low = np.where(low == -_NO_BOUND, high - 2 * _WORD, low)
        addends = -(-low // _WORD)
        product = np.maximum(np.abs(least), np.abs(most)) * factors // _WORD
        fits = (addends * _WORD <= high) & (np.abs(addends) < _MOST) & (product < _MOST)
        self.multipliers[at[fits]], self.addends[at[fits]] = multipliers[fits], addends[fits]
        self.missing[at[fits]] = False


def sum_without_bias(
    w: WeightedSum, constants: Mapping[str, Array], free: int = 1, raised: bool = False
) -> tuple[WeightedSum, Mapping[str, Array]]:
    """The sum without its bias, and the constants for it; as it is where that cannot be."""
    biases, index = known_bias(w.bias, w.filters, constants), Var(w.variables["c"])
    if biases is None or not biases.any():
        return w, constants
    found = unbiased(
        w.weights, biases, w.source.dtype, w.acc, w.epilogue, constants, index, free, raised
    )
    if found is None:
        return w, constants
    bare = replace(w, bias=Imm(0), epilogue=found.epilogue, raised=raised)
    return bare, {**constants, **found.constants}


def _read(
    epilogue: tuple[Stmt, ...], acc: Buffer, constants: Mapping[str, Array], filters: int
) -> _Rescale | None:
    """The rescale of an epilogue whose clamped result is all that is read of the sum."""
    found = [stmt for stmt in epilogue if isinstance(stmt, Let) and _reads(stmt, acc)]
    if len(found) != 1 or sum(_reads(stmt, acc) for stmt in epilogue) != 1:
        return None
    match found[0]:
        case Let(var, Binary(">>", Binary("+", Call("mulhi", (a, m)), b), s)):
            scale = _factor(a, Load(acc))
            bounds = _bounds(epilogue, var)
            parts = [_numbers(e, constants, filters) for e in (m, b, s)]
            multipliers, addends, shifts = parts
            if scale is None or bounds is None or scale & (scale - 1):
                return None
            if multipliers is None or addends is None or shifts is None:
                return None
            own = sum(isinstance(e, Load) and e.buffer.elements > 1 for e in (m, b, s))
            return _Rescale(found[0], scale, multipliers, addends, shifts, *bounds, own)
    return None


def _reads(stmt: Stmt, acc: Buffer) -> int:
    return sum(e == Load(acc) for e in expressions((stmt,)))


def _bounds(epilogue: tuple[Stmt, ...], var: Var) -> tuple[int, int] | None:
    """The clamp that is all that reads a rescaled sum."""
    found: list[tuple[int, int]] = []
    reads = 0
    for expr in expressions(epilogue):
        reads += expr == var
        match expr:
            case Binary("min", Binary("max", inner, Imm(low)), Imm(high)) if inner == var:
                found.append((int(low), int(high)))
    return found[0] if len(found) == reads == 1 and found[0][0] < found[0][1] else None


def _factor(expr: Expr, base: Expr) -> int | None:
    """n, if an expression is ``base * n``."""
    match expr:
        case Binary("*", inner, Imm(value=int(factor))) if inner == base:
            return factor
    return 1 if expr == base else None


def _numbers(expr: Expr, constants: Mapping[str, Array], filters: int) -> Array | None:
    """The value of a constant by filter."""
    match expr:
        case Imm(value):
            return np.full(filters, int(value), np.int64)
        case Load(buffer) if buffer.name in constants:
            data = constants[buffer.name].reshape(-1).astype(np.int64)
            return np.broadcast_to(data, (filters,)) if data.size in (1, filters) else None
    return None
