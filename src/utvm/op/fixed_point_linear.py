"""One multiply-add and one shift that equal a rescaling on every accumulator it can meet.

In: a rescaling to a clamped integer range (double rounding, or a double product), as a function,
and the range of each channel's accumulator. Out, per channel: multiplier, addend and shift with
``rescale(acc) == clip((acc * multiplier + addend) >> shift)``, the zero point included; or None.
On Arm that is one SMLAL (or SMMLA where the addend's low word is zero) in place of two roundings.

Why it is exact: a rescaling never falls as acc grows, so it is known by its steps, the least acc
that reaches each output. The linear form has the same steps if and only if the addend lies in an
interval that they bound from both sides; the interval is computed, not sampled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utvm.op.fixed_point import INT32_MAX, INT32_MIN, Int64Array, int64_of, saturate

# How far a step may lie from where the real factor puts it, in accumulator units: first where
# nearly all lie, then where one may.
_AROUND = (range(-2, 2), range(-3, 4))
# t << shift and acc * multiplier both stay inside int64.
_MAX_SHIFT = 45
# An addend is about (zero point + 1/2) << shift; no more bits than these above the shift are tried.
_ADDEND_BITS = 10


@dataclass(frozen=True)
class LinearForm:
    """(acc * multiplier + addend) >> shift, per channel; multiplier below 2^31, addend 64 bits.

    Accumulators below zero take the negative addend. It is the same one, and the sign need not be
    looked at, unless the rescaling rounds halves away from zero on results of both signs.
    ``intervals`` holds per channel all that would do: least and most for negative accumulators,
    then for the others.
    """

    multipliers: tuple[int, ...]
    addends: tuple[int, ...]
    negative_addends: tuple[int, ...]
    shifts: tuple[int, ...]
    intervals: tuple[tuple[int, int, int, int], ...] = ()


def linear_reference(acc: npt.ArrayLike, form: LinearForm, qmin: int, qmax: int) -> Int64Array:
    """What a linear form computes, channels last."""
    value = int64_of(acc)
    addends = np.where(value < 0, int64_of(form.negative_addends), int64_of(form.addends))
    total = value * int64_of(form.multipliers) + addends
    return saturate(total >> int64_of(form.shifts), qmin, qmax)


@dataclass(frozen=True, eq=False)
class RescaleSteps:
    """A rescale by its steps: the least accumulator whose output is at least each of ``outputs``.

    ``steps`` is (outputs, channels); low and high + 1 stand for steps outside the range. ``real``
    are the factors of the channels.
    """

    real: npt.NDArray[np.float64]
    outputs: Int64Array
    steps: Int64Array
    low: Int64Array
    high: Int64Array

    def form(self, one_shift: bool) -> LinearForm | None:
        """The multiply-add with these steps; None where some channel has none.

        ``one_shift`` asks for the same shift in all channels, at the cost of precision in those
        with small factors.
        """
        _, exponent = np.frexp(self.real)
        shifts = np.minimum(31 - exponent, _MAX_SHIFT).astype(np.int64)
        if one_shift:
            shifts = np.full_like(shifts, shifts.min())
        nearest = np.ldexp(self.real, shifts.astype(np.int32))
        multipliers = np.minimum(int64_of(np.round(nearest)), INT32_MAX)
        # Of a constant accumulator the addend alone is the result.
        multipliers = np.where(self.low == self.high, 0, multipliers)
        return _with_addends(multipliers, shifts, self.steps, self.outputs, self.low, self.high)


def rescale_steps(
    rescale: Callable[[Int64Array], Int64Array],
    scales: tuple[float, ...],
    acc_range: tuple[Int64Array, Int64Array],
    zero_point: int,
    qmin: int,
    qmax: int,
) -> RescaleSteps | None:
    """The steps of ``rescale``, which takes accumulators with channels last.

    ``scales`` are the real positive factors it stands for, ``acc_range`` the least and greatest
    accumulator of each channel. None where factors or sums are too large to tell.
    """
    real = np.asarray(scales, dtype=np.float64)
    low, high = (int64_of(bound) for bound in acc_range)
    real = _like_others(real, low == high)
    if qmin >= qmax or not _fits(real, low, high, zero_point):
        return None
    outputs = np.arange(qmin + 1, qmax + 1, dtype=np.int64)[:, None]
    steps = _steps(rescale, real, outputs, zero_point, low, high)
    return None if steps is None else RescaleSteps(real, outputs, steps, low, high)


def _like_others(
    real: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The factors, those ``chosen`` as the least of the others: so they ask for nothing more."""
    others = real[~chosen]
    return np.where(chosen, others.min() if others.size else 1.0 / 256, real)


def _fits(real: npt.NDArray[np.float64], low: Int64Array, high: Int64Array, zero: int) -> bool:
    """Whether factors are usable and results stay in 32 bits before they are clamped."""
    if not (np.all(np.isfinite(real)) and np.all(real > 2.0**-40) and np.all(real < 2.0**20)):
        return False
    if np.any(low < INT32_MIN) or np.any(high > INT32_MAX):
        return False
    reach = np.maximum(np.abs(low), np.abs(high)) * real + abs(zero) + 1
    return bool(np.all(reach < INT32_MAX))


def _steps(
    rescale: Callable[[Int64Array], Int64Array],
    real: npt.NDArray[np.float64],
    outputs: Int64Array,
    zero_point: int,
    low: Int64Array,
    high: Int64Array,
) -> Int64Array | None:
    """The least accumulator whose output is at least each of ``outputs``: (outputs, channels).

    low and high + 1 stand for steps outside the range; None if a step is not where it is expected.
    """
    expected = int64_of(np.ceil((outputs - zero_point - 0.5) / real))
    for around in _AROUND:
        candidates = np.clip(expected + np.array(around)[:, None, None], low, high)
        reached = rescale(candidates) >= outputs
        below, above = candidates[0] > low, candidates[-1] < high
        if np.any(reached[0] & below) or np.any(~reached[-1] & above):
            continue
        first = reached.argmax(axis=0)
        steps = np.take_along_axis(candidates, first[None], axis=0)[0]
        return np.where(reached.any(axis=0), steps, high + 1)
    return None


def _with_addends(
    multipliers: Int64Array,
    shifts: Int64Array,
    steps: Int64Array,
    outputs: Int64Array,
    low: Int64Array,
    high: Int64Array,
) -> LinearForm | None:
    """One addend for all accumulators where that is possible, else one per sign."""
    targets = outputs << shifts
    halves = [
        (low, high),
        (low, np.minimum(high, -1)),
        (np.maximum(low, 0), high),
    ]
    limit = np.int64(1) << (shifts + _ADDEND_BITS)
    bounds = [_addend_interval(multipliers, targets, steps, *half, limit) for half in halves]
    addends: list[int] = []
    negative_addends: list[int] = []
    for channel in range(len(multipliers)):
        whole, negative, positive = (
            _roundest(int(least[channel]), int(most[channel])) for least, most in bounds
        )
        if whole is not None:
            negative = positive = whole
        if negative is None or positive is None:
            return None
        addends.append(positive)
        negative_addends.append(negative)
    return LinearForm(
        tuple(int(m) for m in multipliers),
        tuple(addends),
        tuple(negative_addends),
        tuple(int(s) for s in shifts),
        tuple(zip(*(map(int, bound) for half in bounds[1:] for bound in half), strict=True)),
    )


def _addend_interval(
    multipliers: Int64Array,
    targets: Int64Array,
    steps: Int64Array,
    low: Int64Array,
    high: Int64Array,
    limit: Int64Array,
) -> tuple[Int64Array, Int64Array]:
    """Per channel, the least and greatest addend that keep every step where it is in low..high.

    An addend that only one side bounds is looked for up to ``limit``.
    """
    # At a step the output is reached; one accumulator before it, it is not.
    at = targets - np.maximum(steps, low) * multipliers
    before = targets - (np.minimum(steps, high + 1) - 1) * multipliers - 1
    least = np.where(steps <= high, at, -limit).max(axis=0)
    most = np.where(steps > low, before, limit).min(axis=0)
    empty = low > high
    return np.where(empty, -limit, least), np.where(empty, limit, most)


def _roundest(least: int, most: int) -> int | None:
    """The number in least..most with the most trailing zero bits; None if there is no number."""
    if least > most:
        return None
    for bits in range(62, -1, -1):
        candidate = -((-least) >> bits) << bits
        if candidate <= most:
            return candidate
    return least
