"""Rescales that round halves away from zero, in two instructions less.

In: a kernel's weights, biases and epilogue. Out: others that give the same results for every sum
that can occur; or None. Double rounding bends at zero: results of negative sums are less by a unit
that differs from filter to filter. Where weights may be int16, each filter's sum is scaled by a
factor of its own, so that the unit is 127 or 255 for all: what a logical shift leaves of the sign.
And with the unit goes the shift by filter.

    (mulhi(acc * 4, m[f]) + a[f] + (acc >> 31) * 2) >> s[f]
                                       ->    (mulhi(acc - (uint(acc) >> 24), m[f]) + a[f]) >> s

Where some filter has no such factor, each has a unit: ``acc - (acc >> 31 & unit[f])``. A rescale
is known by its steps, the least sums that reach its results; the addends that keep them all are an
interval, which is computed: proof, not sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Binary, Buffer, Call, Cast, Expr, Imm, Let, Load, Stmt, Store
from utvm.schedule.weighted_sum import Array

UNITS = ((255, 24), (127, 25))
"""Units, and the shifts that leave so many ones of a sign."""
_NEAR = (0, -1, 1, -2, 2, -3, 3)
_TILTS = (0, *(sign * tilt for tilt in (8, 32, 96, 160, 256, 400, 600) for sign in (1, -1)))
"""Changes of factors and multipliers that are tried where the nearest do not serve."""
LEAST_FACTOR, MOST_FACTOR = 64, 258
"""Small ones make coarse units; the largest leaves weights of int8 in int16."""
_RATIOS = 8
"""Factors with a unit of their own that are tried."""
_WORD = 1 << 32
_NO_BOUND = 1 << 62
MOST_FILTERS = 1024
MOST_SHIFT = 20
"""Results shifted so far, by a word more, fit int64."""


@dataclass(frozen=True, eq=False)
class _Bent:
    """``clip((mulhi(acc * scale, multipliers) + addends - less * (acc < 0)) >> shifts)``, by
    filter."""

    scale: int
    multipliers: Array
    addends: Array
    less: int
    shifts: Array
    low: int
    high: int

    def reaches(self, acc: Array, results: Array) -> Array:
        """Whether sums give at least these results, from ``low + 1`` to ``high``."""
        product = acc * (self.scale * self.multipliers) >> 32
        bent = product + self.addends - self.less * (acc < 0)
        return np.asarray(bent >> self.shifts >= results)

    def steps(self, least: Array, most: Array) -> tuple[Array, Array]:
        """All results but the least, and the first sum that reaches each; one more than ``most``
        where none does."""
        results = np.arange(self.low + 1, self.high + 1, dtype=np.int64)[:, None]
        begin = np.broadcast_to(least, (len(results), len(least)))
        end = np.broadcast_to(most + 1, begin.shape)
        while np.any(begin < end):
            middle = (begin + end) >> 1
            reached = (middle > most) | self.reaches(middle, results)
            searched = begin < end
            begin, end = (
                np.where(searched & ~reached, middle + 1, begin),
                np.where(searched & reached, middle, end),
            )
        return results, begin


@dataclass(frozen=True, eq=False)
class Fit:
    """What takes the place of a kernel's; ``constants`` are those of the new epilogue."""

    weights: Array
    biases: Array
    epilogue: tuple[Stmt, ...]
    constants: Mapping[str, Array]


def fitted(
    weights: Array,
    biases: Array,
    pixels: DType,
    acc: Buffer,
    epilogue: Sequence[Stmt],
    constants: Mapping[str, Array],
    index: Expr,
) -> Fit | None:
    """The rescale of sums of ``weights`` [filters, ...] with unit and shift in common; ``index`` is
    a filter in the kernel's loop variables. None where it does not bend, or is of another kind."""
    filters = len(weights)
    bent = _read(epilogue, acc, constants, filters)
    if bent is None or not 1 < filters <= MOST_FILTERS:
        return None
    flat, sums = weights.reshape(filters, -1).astype(np.int64), biases.astype(np.int64)
    ends = flat * pixels.minimum, flat * pixels.maximum
    least, most = sums + np.minimum(*ends).sum(axis=1), sums + np.maximum(*ends).sum(axis=1)
    known = _Known(bent, least, most, np.abs(flat).max(axis=1), *bent.steps(least, most))
    for unit, shift in (*UNITS, (0, 0)):
        search = _Search(known, _candidates(bent, known.largest, unit), shift)
        if search.found():
            shape = (filters, *(1,) * (weights.ndim - 1))
            constants = {
                "fitted_multiplier": search.multipliers.astype(np.int32),
                "fitted_addend": search.addends.astype(np.int32),
                "fitted_unit": search.units.astype(np.int32),
            }
            loads = [Load(Buffer(n, DType.INT32, (filters,), "const"), (index,)) for n in constants]
            return Fit(
                (weights * search.factors.reshape(shape)).astype(np.int16),
                (sums * search.factors + search.more).astype(np.int32),
                _rewritten(epilogue, acc, loads, shift, search.common),
                constants,
            )
    return None


@dataclass(frozen=True, eq=False)
class _Known:
    """A rescale, the sums that occur, the largest weight of each filter, and the steps."""

    bent: _Bent
    least: Array
    most: Array
    largest: Array
    results: Array
    steps: Array


def _candidates(bent: _Bent, largest: Array, unit: int) -> list[tuple[Array, Array]]:
    """Factors and units to try, the nearest first; ``unit`` 0: any whole number is one."""
    bend = bent.less * _WORD / (bent.scale * np.maximum(bent.multipliers, 1))
    if unit:
        nearest = np.maximum(np.round(unit / bend), 1).astype(np.int64)
        units = np.full_like(nearest, unit)
        return [(np.maximum(nearest + near, 1), units) for near in _NEAR]
    most = np.minimum(((1 << 15) - 1) // np.maximum(largest, 1), MOST_FACTOR)
    factors = np.arange(LEAST_FACTOR, MOST_FACTOR + 1, dtype=np.int64)[:, None]
    whole = np.round(factors * bend)
    error = np.abs(whole / factors - bend) + (factors > most)
    order = np.argsort(error, axis=0)[:_RATIOS]
    found = np.take_along_axis(whole, order, axis=0).astype(np.int64)
    return [(row + LEAST_FACTOR, units) for row, units in zip(order, found, strict=True)]


def _read(
    epilogue: Sequence[Stmt], acc: Buffer, constants: Mapping[str, Array], filters: int
) -> _Bent | None:
    """The rescale of an epilogue that stores its clamped result."""
    total, sign = Load(acc), Binary(">>", Load(acc), Imm(31))
    match epilogue:
        case [
            Let(var, Binary(">>", Binary("+", Binary("+", Call("mulhi", (a, m)), b), c), s)),
            Store(
                value=Cast(dtype, Binary("min", Binary("max", read, Imm(low)), Imm(high))), lanes=1
            ),
        ] if read == var and dtype.bits == 8:
            scale = _factor(a, total)
            less = _factor(c, sign)
            parts = [_numbers(e, constants, filters) for e in (m, b, s)]
            multipliers, addends, shifts = parts
            if scale is None or less is None:
                return None
            if multipliers is None or addends is None or shifts is None:
                return None
            return _Bent(scale, multipliers, addends, less, shifts, int(low), int(high))
    return None


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


class _Search:
    """Looks for factors, multipliers and addends by filter, and for the shift they have in common.

    ``more`` is what is added to the sums: a part of the addend that is smaller than its unit.
    """

    def __init__(
        self, known: _Known, candidates: Sequence[tuple[Array, Array]], shift: int
    ) -> None:
        self.known, self.candidates, self.shift = known, candidates, shift
        bent = known.bent
        self.real = bent.scale * bent.multipliers / _WORD / np.exp2(bent.shifts)
        ratio = np.maximum(self.real, 2.0**-40) / np.min([one for one, _ in candidates], axis=0)
        self.common = int(np.floor(31 - 1e-9 - np.log2(ratio.max()) - 32))
        self.factors, self.multipliers, self.addends, self.more, self.units = (
            np.zeros_like(known.least) for _ in range(5)
        )
        self.left = np.ones(len(known.least), bool)

    def found(self) -> bool:
        """Whether every filter has its numbers."""
        if not 0 < self.common <= MOST_SHIFT:
            return False
        for tilt in _TILTS:
            for factors, units in self.candidates:
                self._try(factors, units, tilt)
                if not self.left.any():
                    return True
            if self.left.sum() > len(self.left) // 4:
                return False
        return False

    def _try(self, all_factors: Array, all_units: Array, tilt: int) -> None:
        """One factor for the filters that have none yet."""
        at = np.flatnonzero(self.left)
        known = self.known
        least, most, steps = known.least[at], known.most[at], known.steps[:, at]
        factors, units = all_factors[at], all_units[at]
        scale = np.ldexp(self.real[at] / factors, 32 + self.common)
        multipliers = np.round(scale).astype(np.int64) + tilt
        targets = known.results << self.common + 32
        reached = targets - self._product(np.minimum(steps, most), factors, multipliers, units)
        before = np.maximum(steps, least + 1) - 1
        missed = targets - 1 - self._product(before, factors, multipliers, units)
        low = np.where(steps <= most, reached, -_NO_BOUND).max(axis=0)
        high = np.where(steps > least, missed, _NO_BOUND).min(axis=0)
        low = np.where(low == -_NO_BOUND, high - 2 * _WORD, low)
        for addends in (low >> 32, (low >> 32) + 1):
            more = -((addends * _WORD - low) // np.maximum(multipliers, 1))
            reach = np.maximum(np.abs(least), np.abs(most)) * factors + np.abs(more) + 256
            fits = (multipliers >= 0) & (multipliers < 1 << 31) & (np.abs(addends) < 1 << 30)
            fits &= (known.largest[at] * factors < 1 << 15) & (reach < 1 << 31)
            # The sums with what is added to them: again, exactly.
            reached = self._product(np.minimum(steps, most), factors, multipliers, units, more)
            missed = self._product(before, factors, multipliers, units, more)
            fits &= ((reached + addends * _WORD >= targets) | (steps > most)).all(axis=0)
            fits &= ((missed + addends * _WORD < targets) | (steps <= least)).all(axis=0)
            self.factors[at[fits]], self.multipliers[at[fits]] = factors[fits], multipliers[fits]
            self.addends[at[fits]], self.more[at[fits]] = addends[fits], more[fits]
            self.units[at[fits]], self.left[at[fits]] = units[fits], False

    def _product(
        self, acc: Array, factors: Array, multipliers: Array, units: Array, more: Array | int = 0
    ) -> Array:
        """Of scaled sums, bent at zero."""
        scaled = acc * factors + more
        bend = (scaled & _WORD - 1) >> self.shift if self.shift else units
        return np.asarray((scaled - np.where(scaled < 0, bend, 0)) * multipliers)


def _rewritten(
    epilogue: Sequence[Stmt], acc: Buffer, loads: Sequence[Expr], shift: int, common: int
) -> tuple[Stmt, ...]:
    """The epilogue with the new rescale: ``loads`` are multiplier, addend and unit."""
    let, store = epilogue
    assert isinstance(let, Let)
    multiplier, addend, unit = loads
    if shift:
        bend: Expr = Cast(DType.INT32, Cast(DType.UINT32, Load(acc)) >> shift)
    else:
        bend = Binary("&", unit, Load(acc) >> 31)
    total = Binary("+", Call("mulhi", (Load(acc) - bend, multiplier), DType.INT32), addend)
    return Let(let.var, total >> common), store
