"""``requantize_linear``: a rescale to a narrow type by one multiply-add and one shift.

    y = clamp((high_word((x << left_shift) * multiplier) + addend) >> shift, low, high)

``fixed_point_linear`` finds constants for which this equals the reference kernels' rescale, with
its two roundings (or its double product) and the zero point, on every accumulator that can occur.
On Arm it is SMMLA and ASR. Operands: x (int32), multiplier, addend, shift (int32, one element or
one per channel of the last axis). Where halves round away from zero on both sides, negative x take
an addend that is less by a power of two (``negative_less``: two instructions), or, as a last
operand, another one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import Binary, Call, Cast, Expr, Imm, Select, clamp
from utvm.op.base import (
    Arrays,
    Constants,
    Op,
    Types,
    constant_operand,
    expect,
    expect_inputs,
    expect_range,
    narrow_type,
)
from utvm.op.definition import Element
from utvm.op.fixed_point import int64_of
from utvm.op.ranges import Interval, Operands, at_corners

# The high word of a product of two int32 stays below this, so that the sum fits 32 bits.
MOST_ADDEND = 1 << 30


@dataclass(frozen=True)
class RequantizeLinearAttrs(Attrs):
    """``dtype``: the result's type; ``low``/``high``: its bounds, inclusive."""

    dtype: str
    low: int
    high: int
    left_shift: int = 0
    negative_less: int = 0


def _infer(inputs: Types, attrs: RequantizeLinearAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 4, 5)
    x = inputs[0]
    channels = x.shape[-1] if x.shape else 1
    expect(x.dtype is DType.INT32, "only an int32 accumulator is rescaled so", "int32", x)
    for operand in inputs[1:]:
        expect(operand.dtype is DType.INT32, "constants of the rescale are int32", found=operand)
        expect(
            operand.shape in ((1,), (channels,)),
            "one constant or one per channel",
            f"[1] or [{channels}]",
            operand,
        )
    expect_range("left_shift", attrs.left_shift, 0, 30)
    less = attrs.negative_less
    power = 0 <= less <= 1 << 24 and less & (less - 1) == 0
    expect(power, "negative_less is a power of two", "0, or 1 to 2^24", less)
    return (TensorType(x.shape, narrow_type(attrs.dtype, attrs.low, attrs.high)),)


def _check(inputs: Types, data: Constants, attrs: RequantizeLinearAttrs) -> None:
    multiplier, addend, shift, *others = (
        constant_operand(d, "constants of the rescale") for d in data[1:]
    )
    expect(multiplier.min() >= 0, "a multiplier is negative", found=multiplier.min())
    for words in (addend, *others):
        for extreme in (int(words.min()), int(words.max())):
            expect_range("an addend", extreme, 1 - MOST_ADDEND, MOST_ADDEND - 1)
    for extreme in (shift.min(), shift.max()):
        expect_range("a shift", extreme, 0, 31)


def _reference(inputs: Arrays, attrs: RequantizeLinearAttrs) -> tuple[np.ndarray, ...]:
    x, multiplier, addend, shift = (int64_of(operand) for operand in inputs[:4])
    if len(inputs) == 5:
        addend = np.where(x < 0, int64_of(inputs[4]), addend)
    if attrs.negative_less:
        addend = addend - attrs.negative_less * (x < 0)
    scaled = (((x << attrs.left_shift) * multiplier >> 32) + addend) >> shift
    return (np.clip(scaled, attrs.low, attrs.high).astype(DType(attrs.dtype).numpy),)


def _compute(element: Element) -> Expr:
    attrs = element.attrs
    x, multiplier, addend, shift = (element.arg(i) for i in range(4))
    if len(element.inputs) == 5:
        addend = Select(Binary("<", x, Imm(0)), element.arg(4), addend)
    shifted = x * (1 << attrs.left_shift) if attrs.left_shift else x
    high = Call("mulhi", (shifted, multiplier), DType.INT32)
    total = high + addend
    if attrs.negative_less:
        sign = x >> 31
        total = total + (sign * attrs.negative_less if attrs.negative_less > 1 else sign)
    value = element.bind(total >> shift)
    return Cast(DType(attrs.dtype), clamp(value, attrs.low, attrs.high))


def _ranges(operands: Operands, result: TensorType, attrs: RequantizeLinearAttrs) -> Interval:
    """Monotone for the accumulators that fit when shifted, on either side of zero."""
    x = operands[0].interval
    reach = int(max(-x.low.min(), x.high.max(), 0)) << attrs.left_shift
    limits = Interval(np.array([attrs.low]), np.array([attrs.high]))
    if reach > DType.INT32.maximum or (len(operands) == 5 and operands[4].data is None):
        return limits
    at = partial(at_corners, function=lambda *ends: _reference(ends, attrs)[0])
    if len(operands) == 4:
        return at(operands)
    below = at((replace(operands[0], interval=x.limited(most=-1)), *operands[1:]))
    above = at((replace(operands[0], interval=x.limited(least=0)), *operands[1:]))
    only_below, only_above = x.high < 0, x.low >= 0
    both = below.joined(above)
    return Interval(
        np.where(only_below, below.low, np.where(only_above, above.low, both.low)),
        np.where(only_below, below.high, np.where(only_above, above.high, both.high)),
    )


OP = Op(
    "requantize_linear",
    RequantizeLinearAttrs,
    _infer,
    _check,
    reference=_reference,
    compute=_compute,
    elementwise=True,
    operands=("x", "multiplier", "addend", "shift", "negative_addend"),
    ranges=_ranges,
)
