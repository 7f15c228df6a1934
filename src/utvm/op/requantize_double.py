"""``requantize_double``: a rescale by a double with one rounding, as TFLite's FULLY_CONNECTED does
it.

    y = clamp(round(x * scale) + output_zero_point, low, high), halves away from zero

Used only where ``requantize_linear`` has no exact constants (int16 outputs, factors out of the
ordinary), since small cores compute doubles in software. Operands: x (int32 or int64) and the two
words of the scale (int32, one or per channel).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import Call, Expr, clamp
from utvm.op.base import (
    Arrays,
    Constants,
    Op,
    Types,
    constant_operand,
    expect,
    expect_inputs,
    expect_zero_point,
    narrow_type,
)
from utvm.op.builder import GraphBuilder
from utvm.op.definition import Element, cast
from utvm.op.fixed_point import int64_of, round_half_away
from utvm.op.quantized_linear import Rescale
from utvm.op.ranges import Interval, Operands, at_corners

INT32 = DType.INT32


@dataclass(frozen=True)
class RequantizeDoubleAttrs(Attrs):
    """``dtype``: the result's type; ``low``/``high``: its bounds, inclusive."""

    dtype: str
    low: int
    high: int
    output_zero_point: int = 0


def _infer(inputs: Types, attrs: RequantizeDoubleAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 3)
    x = inputs[0]
    expect(x.dtype in (INT32, DType.INT64), "an accumulator is rescaled", "int32 or int64", x)
    expect(inputs[1] == inputs[2], "the words of a scale come in pairs", str(inputs[1]), inputs[2])
    channels = x.shape[-1] if x.shape else 1
    for operand in inputs[1:]:
        fits = operand.dtype is INT32 and operand.shape in ((1,), (channels,))
        expect(fits, "one word or one per channel", f"int32[1] or int32[{channels}]", operand)
    dtype = narrow_type(attrs.dtype, attrs.low, attrs.high)
    expect_zero_point(attrs.output_zero_point, dtype)
    return (TensorType(x.shape, dtype),)


def _scales(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """The doubles with these words."""
    bits = (int64_of(high) << 32) | (int64_of(low) & 0xFFFFFFFF)
    return bits.view(np.float64)


def _check(inputs: Types, data: Constants, attrs: RequantizeDoubleAttrs) -> None:
    scales = _scales(*(constant_operand(d, "the words of a scale") for d in data[1:]))
    expect(bool(np.isfinite(scales).all()), "a scale is not finite")


def _reference(inputs: Arrays, attrs: RequantizeDoubleAttrs) -> tuple[np.ndarray, ...]:
    x, high, low = inputs
    steps = round_half_away(x.astype(np.float64) * _scales(high, low))
    whole = int64_of(np.clip(steps, INT32.minimum, INT32.maximum)) + attrs.output_zero_point
    return (np.clip(whole, attrs.low, attrs.high).astype(DType(attrs.dtype).numpy),)


def _compute(element: Element) -> Expr:
    attrs = element.attrs
    args = (cast(element.arg(0), DType.INT64), element.arg(1), element.arg(2))
    steps = element.bind(Call("requantize_double", args, INT32))
    # Clamped before the zero point is added, which could overflow.
    zero = attrs.output_zero_point
    limited = clamp(steps, attrs.low - zero, attrs.high - zero)
    return cast(limited + zero if zero else limited, DType(attrs.dtype))


def emit_double(b: GraphBuilder, total: str, rescale: Rescale) -> str:
    """``requantize_double`` behind ``total``."""
    bits = np.array(rescale.scales, np.float64).view(np.int64)
    words = [(bits >> 32).astype(np.int32), (bits & 0xFFFFFFFF).astype(np.uint32).view(np.int32)]
    names = [b.constant(word, "scale") for word in words]
    attrs = RequantizeDoubleAttrs(
        rescale.dtype.value, rescale.low, rescale.high, rescale.zero_point
    )
    return b.emit("requantize_double", [total, *names], attrs)


def _ranges(operands: Operands, result: TensorType, attrs: RequantizeDoubleAttrs) -> Interval:
    return at_corners(operands, lambda *ends: _reference(ends, attrs)[0])


OP = Op(
    "requantize_double",
    RequantizeDoubleAttrs,
    _infer,
    _check,
    reference=_reference,
    compute=_compute,
    elementwise=True,
    operands=("x", "scale_high", "scale_low"),
    ranges=_ranges,
)
