"""A rescale by a double to at most 16 bits as one long multiply-add, where that is exact.

    y = clip(zero + ((x * 2^left * (high + low / 2^32) + 2^(shift + 31)) >> (32 + shift)))

In: factors, the range of each channel's accumulators, the bounds of results. Out: ``left``,
``shift`` and the words of the multipliers, or None. The multiplier has 63 bits, so the product lies
within a few units of the real one: results can only differ where the real product lies that near to
a half. There are few such accumulators, often none; Euclid's algorithm finds them without looking
at the others, and each is compared. So what is returned is proved equal on the whole range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from utvm.op.fixed_point import INT32_MAX, Int64Array

PUSHES = (0, 1, 4, 16, 64, 256, 1024)
"""By how much a multiplier's last word is made larger, so that halves go away from zero."""
MOST_NEAR = 2000
"""Accumulators of a channel that are compared."""
_LEAST, _MOST = -(1 << 15), (1 << 15) - 1
_EXACT_BITS = 37
"""A double holds numbers below 2^16 with so many bits behind the point."""
_ROUNDING = Fraction(1, 1 << 38)
"""How far below a half such a product may lie that rounds to it as a double."""


@dataclass(frozen=True)
class LongForm:
    """``highs`` and ``lows`` by channel; ``left`` and ``shift`` are those of all of them."""

    left: int
    shift: int
    highs: tuple[int, ...]
    lows: tuple[int, ...]


def long_form(
    scales: tuple[float, ...],
    acc_range: tuple[Int64Array, Int64Array],
    low: int,
    high: int,
    zero_point: int = 0,
) -> LongForm | None:
    """The form of ``round(x * scale) + zero_point``, halves away from zero, limited to
    ``low..high``. The zero point, shifted, has room in the addend."""
    low, high = low - zero_point, high - zero_point
    channels = max(len(scales), len(acc_range[0]))
    reals = np.broadcast_to(np.array(scales), channels).tolist()
    ends = [np.broadcast_to(bound, channels).tolist() for bound in acc_range]
    largest = max(max(-least, most) for least, most in zip(*ends, strict=True))
    if largest > INT32_MAX or not all(2.0**-60 <= real < 2.0**30 for real in reals):
        return None
    if low < _LEAST or high > _MOST:
        return None
    left = 31 - max(largest, 1).bit_length()
    room = 29 - zero_point.bit_length() if zero_point else 31
    shift = min(left - 1 - math.frexp(max(reals))[1], room)
    if shift < 1:
        return None
    words: list[tuple[int, int]] = []
    for real, least, most in zip(reals, *ends, strict=True):
        found = _Channel(real, least, most, left, shift, low, high).words()
        if found is None:
            return None
        words.append(found)
    if len(scales) == 1 and len(set(words)) > 1:
        return None
    return LongForm(left, shift, *zip(*words, strict=True))


@dataclass(frozen=True)
class _Channel:
    """``scale`` and the accumulators ``least..most``."""

    scale: float
    least: int
    most: int
    left: int
    shift: int
    low: int
    high: int

    def words(self) -> tuple[int, int] | None:
        """The multiplier's words."""
        exact = Fraction(self.scale) * 2 ** (64 + self.shift - self.left)
        multiplier = round(exact)
        whole, last = multiplier >> 32, multiplier & 0xFFFFFFFF
        bits = Fraction(self.scale).denominator.bit_length() - 1
        if whole <= INT32_MAX and last == 0 and exact == multiplier and bits <= _EXACT_BITS:
            # No product is rounded anywhere. The last word takes one unit from negative ones, so
            # that their halves go down; all others are further than a unit from the next result.
            return whole, 1
        near = self._near(exact, multiplier + PUSHES[-1])
        for push in PUSHES if near is not None else ():
            whole, last = _signed_words(multiplier + push)
            if whole <= INT32_MAX and all(self._equal(x, whole, last) for x in near or ()):
                return whole, last
        return None

    def _near(self, exact: Fraction, multiplier: int) -> list[int] | None:
        """The accumulators whose results could differ with multipliers up to ``multiplier``; None
        if there are too many. Those beyond the last result are limited in any case."""
        reach = max(-self.low, self.high) + 1
        beyond = math.ceil(reach / Fraction(self.scale))
        least, most = max(self.least, -beyond), min(self.most, beyond)
        unit = Fraction(1, 1 << (32 + self.shift))
        largest = max(abs(least), abs(most)) << self.left
        error = unit * (1 + largest * abs(multiplier - exact) / (1 << 32))
        found: list[int] = []
        for x in near_halves(Fraction(self.scale), error + _ROUNDING, least, most):
            found.append(x)
            if len(found) > MOST_NEAR:
                return None
        return found

    def _equal(self, x: int, whole: int, last: int) -> bool:
        """Whether the form rounds as the double does."""
        shifted = x << self.left
        total = shifted * whole + (shifted * last >> 32) + (1 << (self.shift + 31))
        product = float(x) * self.scale
        nearest = math.trunc(product)
        rest = product - nearest
        nearest += (rest >= 0.5) - (rest <= -0.5)
        results = (total >> (32 + self.shift), nearest)
        limited = {min(max(result, self.low), self.high) for result in results}
        return len(limited) == 1


def _signed_words(multiplier: int) -> tuple[int, int]:
    """High and low word, the low one signed."""
    high = (multiplier + (1 << 31)) >> 32
    return high, multiplier - (high << 32)


def near_halves(scale: Fraction, error: Fraction, least: int, most: int) -> Iterator[int]:
    """The integers x in ``least..most`` for which ``x * scale`` is at most ``error`` from a number
    that ends in one half, in order."""
    factor, modulus = scale.numerator, scale.denominator
    reach = math.floor((Fraction(1, 2) + error) * modulus)
    begin = math.ceil((Fraction(1, 2) - error) * modulus)
    x = least
    while x <= most and begin <= reach:
        low, high = ((end - x * factor) % modulus for end in (begin, reach))
        whole = reach - begin + 1 >= modulus or low > high
        step = 0 if whole else first_between(factor % modulus, modulus, low, high)
        if step is None or x + step > most:
            return
        x += step
        yield x
        x += 1


def first_between(factor: int, modulus: int, low: int, high: int) -> int | None:
    """The least x >= 0 with ``low <= x * factor mod modulus <= high``, for 0 <= low <= high <
    modulus; None if there is none. Euclid's algorithm: what wraps around is a smaller question of
    the same kind."""
    if low == 0:
        return 0
    if factor == 0:
        return None
    if 2 * factor > modulus:
        return first_between(modulus - factor, modulus, modulus - high, modulus - low)
    x = -(-low // factor)
    if x * factor <= high:
        return x
    wraps = first_between(-modulus % factor, factor, low % factor, high % factor)
    return None if wraps is None else -(-(low + modulus * wraps) // factor)
