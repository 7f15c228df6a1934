"""Legalization of a weighted sum's rescale to ``requantize_linear``, where that is exact.

The accumulator's range follows from the constant weights and bias. Within it ``fixed_point_linear``
finds one multiply-add per channel that equals the reference rescale, or says that there is none.
The accumulator is shifted up as far as is needed and as its range allows, so that the low word of
the addend can be dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.op.builder import GraphBuilder
from utvm.op.fixed_point import INT32_MAX, Int64Array, int64_of, reduced_multiplier
from utvm.op.fixed_point_linear import LinearForm, rescale_steps
from utvm.op.quantize_conv import ConvParams
from utvm.op.requantize_linear import RequantizeLinearAttrs

# The search holds some thousand numbers per channel.
MOST_CHANNELS = 4096
# The greatest power of two that the addends of negative and other accumulators differ by.
MOST_LESS = 24


@dataclass(frozen=True)
class Rescale:
    """A reference rescale: the function on accumulators (channels last), its real factors, its
    range.
    """

    function: Callable[[Int64Array], Int64Array]
    scales: tuple[float, ...]
    zero_point: int
    low: int
    high: int
    dtype: DType


def accumulator_range(
    weights: Int64Array, bias: Int64Array, x_type: DType
) -> tuple[Int64Array, Int64Array]:
    """Least and greatest sum per filter; ``weights`` [filters, taps] less their zero point.

    Padding taps hold an input value too, so every tap lies in the range of ``x_type``.
    """
    at_low, at_high = weights * x_type.minimum, weights * x_type.maximum
    low = bias + np.minimum(at_low, at_high).sum(axis=1)
    high = bias + np.maximum(at_low, at_high).sum(axis=1)
    return low, high


@dataclass(frozen=True, eq=False)
class Linear:
    """``requantize_linear`` as it was found: its attributes and its constants."""

    attrs: RequantizeLinearAttrs
    constants: list[Int64Array]

    def emit(self, b: GraphBuilder, total: str) -> str:
        """The rescale of ``total``."""
        names = [b.constant(_shortest(data), "rescale") for data in self.constants]
        return b.emit("requantize_linear", [total, *names], self.attrs)


def find_linear(
    rescale: Rescale, acc_range: tuple[Int64Array, Int64Array], *, by_sign: bool
) -> Linear | None:
    """``requantize_linear`` for accumulators in a range; None where no exact constants exist.

    ``by_sign`` allows a second addend for negative accumulators, which costs three instructions.
    """
    channels = max(len(rescale.scales), len(acc_range[0]))
    if rescale.dtype.bits > 8 or channels > MOST_CHANNELS:
        return None
    scales = tuple(np.broadcast_to(np.array(rescale.scales), channels).tolist())
    largest = max(int(np.abs(bound).max()) for bound in acc_range)
    known = rescale_steps(
        rescale.function, scales, acc_range, rescale.zero_point, rescale.low, rescale.high
    )
    # One shift is a literal, which saturating instructions take for nothing.
    for one_shift in (True, False):
        form = None if known is None else known.form(one_shift)
        if form is None:
            continue
        found = _in_high_words(form, 32 - largest.bit_length(), by_sign)
        if found is not None:
            left, words, less = found
            bounds = (rescale.low, rescale.high)
            return Linear(RequantizeLinearAttrs(rescale.dtype.value, *bounds, left, less), words)
    return None


def emit_wide_linear(
    b: GraphBuilder, total: str, p: ConvParams, acc_range: tuple[Int64Array, Int64Array]
) -> str | None:
    """``requantize_linear`` for the rescale behind int16 activations; None where it does not fit.

    ``(x * m + 2^(t-1)) >> t`` has the same value when the product's lowest 16 bits go first: the
    addend has none of these. So a high product with ``m << 16`` will do, for x of 32 bits.
    """
    total_shift = 15 - int64_of(p.shifts)
    left = max(0, 17 - int(total_shift.min()))
    shifts = total_shift - 16 + left
    largest = max(int(np.abs(bound).max()) for bound in acc_range)
    if largest << left > INT32_MAX or shifts.max() > 30 or len(shifts) > MOST_CHANNELS:
        return None
    words = (int64_of(reduced_multiplier(p.multipliers)) << 16, np.int64(1) << (shifts - 1), shifts)
    attrs = RequantizeLinearAttrs("int16", p.qmin, p.qmax, left)
    names = [b.constant(_shortest(data), "rescale") for data in words]
    return b.emit("requantize_linear", [total, *names], attrs)


def _in_high_words(
    form: LinearForm, most: int, by_sign: bool
) -> tuple[int, list[Int64Array], int] | None:
    """The least left shift below ``most`` with which the form needs no low words, the operands, and
    what the addend of negative accumulators is less."""
    one_addend = form.addends == form.negative_addends
    for left in range(most):
        if not one_addend:
            found = _less_below_zero(form, left)
            if found is not None:
                return left, *found
        operands = _high_words(form, left) if one_addend or by_sign else None
        if operands is not None:
            return left, operands, 0
    return None


def _less_below_zero(form: LinearForm, left: int) -> tuple[list[Int64Array], int] | None:
    """Operands with which the addend of negative accumulators is less by one power of two."""
    shifts = int64_of(form.shifts) + left - 32
    if np.any(shifts < 0) or np.any(shifts > 31):
        return None
    unit = 1 << 32 - left
    least_below, most_below, least, most = int64_of(form.intervals).T
    lowest, highest = -(-least // unit), most // unit
    for power in range(MOST_LESS + 1):
        low = np.maximum(lowest, -(-least_below // unit) + (1 << power))
        high = np.minimum(highest, most_below // unit + (1 << power))
        if np.all(low <= high) and np.all(np.abs(low) < 1 << 30):
            return [int64_of(form.multipliers), low, shifts], 1 << power
    return None


def _high_words(form: LinearForm, left: int) -> list[Int64Array] | None:
    """Multiplier, addend, shift (and negative addend) less 32 bits; None where those count."""
    shifts = int64_of(form.shifts) + left - 32
    if np.any(shifts < 0) or np.any(shifts > 31):
        return None
    addends = [form.addends]
    if form.negative_addends != form.addends:
        addends.append(form.negative_addends)
    words: list[Int64Array] = []
    for addend in addends:
        scaled = int64_of(addend)
        low_bits = 32 - left
        if np.any(scaled & ((1 << low_bits) - 1)) or np.any(np.abs(scaled >> low_bits) >= 1 << 30):
            return None
        words.append(scaled >> low_bits)
    return [int64_of(form.multipliers), words[0], shifts, *words[1:]]


def _shortest(data: Int64Array) -> np.ndarray:
    """int32, as one element if all are equal."""
    return (data[:1] if np.all(data == data[0]) else data).astype(np.int32)
