"""``requantize``: integers rescaled by a fixed-point multiplier into a narrow type.

    y = clamp(scale((x - input_zero_point) << left_shift) + output_zero_point, low, high)

where ``scale`` multiplies by ``multiplier * 2^(shift - 31)`` with the rounding of the reference
kernels (see ``fixed_point``). Operands: x (int32, or int64 for the kernels with int16 activations),
multiplier and shift (int32, one element, or one per channel of the last axis). This is where every
quantized network passes through.
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
    expect_zero_point,
    narrow_type,
)
from utvm.op.definition import Element
from utvm.op.fixed_point import (
    INT32_MAX,
    multiply_by_quantized_multiplier,
    multiply_by_quantized_multiplier_wide,
)
from utvm.op.ranges import Interval, Operands, at_corners


@dataclass(frozen=True)
class RequantizeAttrs(Attrs):
    """``dtype``: the result's type; ``low``/``high``: its bounds, inclusive.

    ``right``: the shift operand counts bits to the right, all in [1, 31]; the instruction sequence
    is shorter.
    """

    dtype: str
    low: int
    high: int
    input_zero_point: int = 0
    left_shift: int = 0
    output_zero_point: int = 0
    right: bool = False


def _infer(inputs: Types, attrs: RequantizeAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 3)
    x, multiplier, shift = inputs
    channels = x.shape[-1] if x.shape else 1
    expect(x.dtype in (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64),
           "cannot requantize", "an integer tensor", x)  # fmt: skip
    for operand in (multiplier, shift):
        expect(operand.dtype is DType.INT32, "multipliers and shifts are int32", found=operand)
        expect(operand.shape in ((1,), (channels,)), "one or a multiplier per channel",
               f"[1] or [{channels}]", operand)  # fmt: skip
    dtype = narrow_type(attrs.dtype, attrs.low, attrs.high)
    expect_zero_point(attrs.output_zero_point, dtype)
    _expect_input(x.dtype, attrs)
    return (TensorType(x.shape, dtype),)


def _expect_input(dtype: DType, attrs: RequantizeAttrs) -> None:
    """Narrow inputs less the zero point and shifted to the left fit 32 bits."""
    if dtype.bits >= 32:
        expect(attrs.left_shift == 0, "only narrow inputs are shifted", "0", attrs.left_shift)
        expect(dtype is DType.INT32 or attrs.input_zero_point == 0, "int64 has no zero point")
        expect_range("the input's zero point", attrs.input_zero_point, -INT32_MAX, INT32_MAX)
        return
    expect_range("left_shift", attrs.left_shift, 0, 30)
    zero = attrs.input_zero_point
    most = max(abs(dtype.minimum - zero), abs(dtype.maximum - zero)) << attrs.left_shift
    expect(most <= INT32_MAX, "the shifted input does not fit 32 bits", found=attrs.left_shift)


def _check(inputs: Types, data: Constants, attrs: RequantizeAttrs) -> None:
    multiplier, shift = (constant_operand(d, "multipliers and shifts") for d in data[1:])
    least, most = (1, 31) if attrs.right else (-31, 30)
    if inputs[0].dtype is DType.INT64:
        expect(not attrs.right, "int64 is not shifted to the right")
        most = 14
    expect(multiplier.min() >= 0, "a multiplier is negative", found=multiplier.min())
    for extreme in (shift.min(), shift.max()):
        expect_range("a shift", extreme, least, most)


def _reference(inputs: Arrays, attrs: RequantizeAttrs) -> tuple[np.ndarray, ...]:
    x, multiplier, shift = inputs
    if x.dtype == np.int64:
        scaled = multiply_by_quantized_multiplier_wide(x, multiplier, shift)
    else:
        value = (x.astype(np.int32) - np.int32(attrs.input_zero_point)) << attrs.left_shift
        left = -shift if attrs.right else shift
        scaled = multiply_by_quantized_multiplier(value, multiplier, left)
    shifted = scaled.astype(np.int64) + attrs.output_zero_point
    return (np.clip(shifted, attrs.low, attrs.high).astype(DType(attrs.dtype).numpy),)


def _compute(element: Element) -> Expr:
    attrs = element.attrs
    x = element.arg(0)
    multiplier, shift = element.arg(1), element.arg(2)
    if x.dtype is DType.INT64:
        scaled: Expr = Call("requantize_wide", (x, multiplier, shift), DType.INT32)
    else:
        if x.dtype is not DType.INT32:
            x = Cast(DType.INT32, x)
        if attrs.input_zero_point:
            x = x - attrs.input_zero_point
        if attrs.left_shift:
            x = x * (1 << attrs.left_shift)
        name = "requantize_right" if attrs.right else "requantize"
        scaled = Call(name, (x, multiplier, shift), DType.INT32)
    scaled = element.bind(scaled)
    dtype, zero = DType(attrs.dtype), attrs.output_zero_point
    if zero and not attrs.right:
        # Clamped before the zero point is added, which could overflow behind a left shift.
        return Cast(dtype, clamp(scaled, attrs.low - zero, attrs.high - zero) + zero)
    value = scaled + zero if zero else scaled
    if (attrs.low, attrs.high) != (DType.INT32.minimum, DType.INT32.maximum):
        value = clamp(value, attrs.low, attrs.high)
    return value if dtype is DType.INT32 else Cast(dtype, value)


def _ranges(operands: Operands, result: TensorType, attrs: RequantizeAttrs) -> Interval:
    """Monotone as long as nothing leaves 32 bits on the way; else anything between the bounds."""
    x, _, shift = (operand.interval for operand in operands)
    reach = float(max(np.abs(x.low - attrs.input_zero_point).max(),
                      np.abs(x.high - attrs.input_zero_point).max()))  # fmt: skip
    left = attrs.left_shift + (0 if attrs.right else max(int(shift.high.max()), 0))
    wide = operands[0].type.dtype is DType.INT64
    if reach * 2.0**left > INT32_MAX / 2 and (wide or reach * 2.0**left > INT32_MAX):
        return Interval(np.array([attrs.low]), np.array([attrs.high]))
    return at_corners(operands, lambda *ends: _reference(ends, attrs)[0])


OP = Op(
    "requantize",
    RequantizeAttrs,
    _infer,
    _check,
    reference=_reference,
    compute=_compute,
    elementwise=True,
    operands=("x", "multiplier", "shift"),
    ranges=_ranges,
)
