"""``div``: elementwise quotient with broadcasting; quantized as TFLite's DIV.

Integers truncate towards zero; a zero divisor gives 0 (TFLite refuses it). Quantized tensors become
``div_requantize``, defined here too: a fixed-point reciprocal and one rescale per element.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import INT32, Binary, Call, Cast, Expr, Imm, clamp
from utvm.op.base import (
    Arrays,
    Op,
    Types,
    broadcast_shape,
    expect,
    expect_factor,
    expect_inputs,
    expect_range,
    narrow_type,
)
from utvm.op.builder import GraphBuilder
from utvm.op.definition import Element, cast
from utvm.op.elementwise import BinaryAttrs, check_numbers, infer_binary
from utvm.op.fixed_point import INT32_MAX, INT32_MIN, int64_of, saturate, wrap_int32
from utvm.op.lut import emit_binary_lut
from utvm.op.quantize_arithmetic import ProductParams, div_params, div_reference
from utvm.op.quantize_params import Activation
from utvm.op.quantized import finish_float, quant_of

NARROW = (DType.INT8, DType.UINT8, DType.INT16)


@dataclass(frozen=True)
class DivRequantizeAttrs(Attrs):
    """``multiplier`` and ``shift``: the quotient's factor; ``low``/``high``: inclusive bounds."""

    dtype: str
    low: int
    high: int
    left_zero_point: int
    right_zero_point: int
    multiplier: int
    shift: int
    output_zero_point: int


def _reference(inputs: Arrays, attrs: BinaryAttrs) -> tuple[np.ndarray, ...]:
    a, b = inputs
    with np.errstate(all="ignore"):
        if a.dtype.kind == "f":
            return ((a / b).astype(np.float32),)
        left, right = np.broadcast_arrays(int64_of(a), int64_of(b))
        magnitude = np.abs(left) // np.maximum(np.abs(right), 1)
        signed = np.where((left < 0) == (right < 0), magnitude, -magnitude)
        return (wrap_int32(np.where(right == 0, 0, signed)).astype(a.dtype),)


def _compute(element: Element) -> Expr:
    a, b = element.arg(0), element.arg(1)
    if a.dtype.is_float:
        return Binary("/", a, b)
    return cast(Call("divide", (cast(a, INT32), cast(b, INT32)), INT32), a.dtype)


def _infer(inputs: Types, attrs: BinaryAttrs) -> tuple[TensorType, ...]:
    results = infer_binary(inputs, attrs)
    expect(inputs[0].dtype.bits <= 32, "64-bit numbers are not divided", "32 bits", inputs[0])
    expect(inputs[0].dtype is not DType.UINT32, "uint32 is not divided", found=inputs[0])
    return results


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    attrs: BinaryAttrs = node.attrs  # type: ignore[assignment]
    if b.quantization(node.outputs[0]) is None:
        return finish_float(b, node)
    left, right = (quant_of(b.value(name)) for name in node.inputs)
    out = quant_of(b.value(node.outputs[0]))
    p = div_params(left, right, out, Activation(attrs.activation))
    plain = DivRequantizeAttrs(
        out.dtype.value,
        p.qmin,
        p.qmax,
        left.zero_point,
        right.zero_point,
        p.multiplier,
        p.shift,
        p.zero_point,
    )
    table = emit_binary_lut(b, node, lambda x, y: _divided(x, y, plain), out.dtype)
    return (table or b.emit("div_requantize", node.inputs, plain),)


def _infer_requantize(inputs: Types, attrs: DivRequantizeAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 2)
    shape = broadcast_shape([inputs[0].shape, inputs[1].shape])
    for x, zero in zip(inputs, (attrs.left_zero_point, attrs.right_zero_point), strict=True):
        expect(x.dtype in NARROW, "wrong element type", "int8, uint8 or int16", x)
        expect_range("a zero point", zero, x.dtype.minimum, x.dtype.maximum)
    dtype = narrow_type(attrs.dtype, attrs.low, attrs.high)
    expect(dtype.bits <= 16, "the result has up to 16 bits", found=attrs.dtype)
    expect_range("the zero point", attrs.output_zero_point, dtype.minimum, dtype.maximum)
    expect_factor(attrs.multiplier, attrs.shift)
    return (TensorType(shape, dtype),)


def _divided(x: np.ndarray, y: np.ndarray, attrs: DivRequantizeAttrs) -> np.ndarray:
    """The result as integers; the zero point where the divisor is zero."""
    params = ProductParams(
        -attrs.left_zero_point,
        -attrs.right_zero_point,
        attrs.multiplier,
        attrs.shift,
        0,
        INT32_MIN,
        INT32_MAX,
    )
    zero = int64_of(y) == attrs.right_zero_point
    quotient = int64_of(div_reference(x, np.where(zero, int64_of(y) + 1, y), params))
    shifted = np.where(zero, 0, quotient) + attrs.output_zero_point
    return saturate(shifted, attrs.low, attrs.high)


def _reference_requantize(inputs: Arrays, attrs: DivRequantizeAttrs) -> tuple[np.ndarray, ...]:
    x, y = np.broadcast_arrays(*inputs)
    return (_divided(x, y, attrs).astype(attrs.dtype),)


def _compute_requantize(element: Element) -> Expr:
    attrs: DivRequantizeAttrs = element.attrs
    numerator = cast(element.arg(0), INT32) - attrs.left_zero_point
    divisor = cast(element.arg(1), INT32) - attrs.right_zero_point
    factor = (Imm(attrs.multiplier), Imm(attrs.shift))
    quotient = element.bind(Call("divide_scaled", (numerator, divisor, *factor), INT32))
    # Clamped before the zero point is added, which could overflow.
    zero = attrs.output_zero_point
    value = clamp(quotient, attrs.low - zero, attrs.high - zero)
    return Cast(DType(attrs.dtype), value + zero)


OP = Op(
    "div",
    BinaryAttrs,
    _infer,
    check_numbers,
    reference=_reference,
    compute=_compute,
    legalize=_legalize,
    elementwise=True,
)
DIV_REQUANTIZE = Op(
    "div_requantize",
    DivRequantizeAttrs,
    _infer_requantize,
    reference=_reference_requantize,
    compute=_compute_requantize,
    elementwise=True,
)
