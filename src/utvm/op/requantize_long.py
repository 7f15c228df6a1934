"""``requantize_long``: a rescale to at most 16 bits by a multiplier of two words.

    t = (x << left_shift) * high + ((x << left_shift) * low >> 32) + 2^(shift + 31)
    y = clamp((t >> (32 + shift)) + output_zero_point, low, high)

``fixed_point_long`` finds constants for which this equals the double of TFLite's FULLY_CONNECTED on
every accumulator that can occur. On Arm it is SMMUL, SMLAL and a saturating shift. Operands: x
(int32), the multiplier's high and low word (int32, one element or one per channel).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import Call, Cast, Expr, clamp
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
from utvm.op.builder import GraphBuilder
from utvm.op.definition import Element
from utvm.op.fixed_point import Int64Array, int64_of
from utvm.op.fixed_point_long import long_form
from utvm.op.quantized_linear import Rescale
from utvm.op.ranges import Interval, Operands, at_corners
from utvm.op.requantize_linear import MOST_ADDEND

INT32 = DType.INT32


@dataclass(frozen=True)
class RequantizeLongAttrs(Attrs):
    """``dtype``: the result's type; ``low``/``high``: its bounds, inclusive."""

    dtype: str
    low: int
    high: int
    left_shift: int
    shift: int
    output_zero_point: int = 0

    @property
    def addend(self) -> int:
        """The half and the zero point, before the shift."""
        return (1 << (self.shift - 1)) + (self.output_zero_point << self.shift)


def _infer(inputs: Types, attrs: RequantizeLongAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 3)
    x = inputs[0]
    channels = x.shape[-1] if x.shape else 1
    expect(x.dtype is INT32, "only an int32 accumulator is rescaled so", "int32", x)
    expect(inputs[1] == inputs[2], "the words of a multiplier come in pairs",
           str(inputs[1]), inputs[2])  # fmt: skip
    for operand in inputs[1:]:
        fits = operand.dtype is INT32 and operand.shape in ((1,), (channels,))
        expect(fits, "one word or one per channel", f"int32[1] or int32[{channels}]", operand)
    expect_range("left_shift", attrs.left_shift, 0, 30)
    expect_range("shift", attrs.shift, 1, 31)
    expect_range("the addend", attrs.addend, -MOST_ADDEND, MOST_ADDEND)
    return (TensorType(x.shape, narrow_type(attrs.dtype, attrs.low, attrs.high)),)


def _check(inputs: Types, data: Constants, attrs: RequantizeLongAttrs) -> None:
    high, _ = (constant_operand(d, "the words of a multiplier") for d in data[1:])
    expect(high.min() >= 0, "a multiplier is negative", found=high.min())


def _reference(inputs: Arrays, attrs: RequantizeLongAttrs) -> tuple[np.ndarray, ...]:
    x, high, low = (int64_of(operand) for operand in inputs)
    shifted = x << attrs.left_shift
    # Products of 62 bits, so that no sum leaves 64.
    words = (shifted * high + (shifted * low >> 32)) >> 32
    steps = (words + attrs.addend) >> attrs.shift
    return (np.clip(steps, attrs.low, attrs.high).astype(DType(attrs.dtype).numpy),)


def _compute(element: Element) -> Expr:
    attrs = element.attrs
    x, high, low = (element.arg(i) for i in range(3))
    if attrs.left_shift:
        x = element.bind(x * (1 << attrs.left_shift))
    words = Call("mulhi_long", (x, high, low), INT32)
    value = element.bind((words + attrs.addend) >> attrs.shift)
    return Cast(DType(attrs.dtype), clamp(value, attrs.low, attrs.high))


def emit_long(
    b: GraphBuilder, total: str, rescale: Rescale, acc_range: tuple[Int64Array, Int64Array]
) -> str | None:
    """``requantize_long`` behind ``total``; None where no exact constants exist."""
    if rescale.dtype.bits > 16 or b.type_of(total).dtype is not INT32:
        return None
    zero = rescale.zero_point
    form = long_form(rescale.scales, acc_range, rescale.low, rescale.high, zero)
    if form is None:
        return None
    one = len(set(zip(form.highs, form.lows, strict=True))) == 1
    words = (form.highs[:1], form.lows[:1]) if one else (form.highs, form.lows)
    names = [b.constant(np.array(word, np.int32), "scale") for word in words]
    dtype, low, high = rescale.dtype.value, rescale.low, rescale.high
    attrs = RequantizeLongAttrs(dtype, low, high, form.left, form.shift, zero)
    return b.emit("requantize_long", [total, *names], attrs)


def _ranges(operands: Operands, result: TensorType, attrs: RequantizeLongAttrs) -> Interval:
    """Monotone for the accumulators that fit when shifted."""
    x = operands[0].interval
    reach = int(max(-x.low.min(), x.high.max(), 0)) << attrs.left_shift
    if reach > INT32.maximum:
        return Interval(np.array([attrs.low]), np.array([attrs.high]))
    return at_corners(operands, lambda *ends: _reference(ends, attrs)[0])


OP = Op(
    "requantize_long",
    RequantizeLongAttrs,
    _infer,
    _check,
    reference=_reference,
    compute=_compute,
    elementwise=True,
    operands=("x", "multiplier_high", "multiplier_low"),
    ranges=_ranges,
)
