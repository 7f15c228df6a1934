"""``leaky_relu``: x where it is positive, alpha * x elsewhere.

Quantized 8-bit tensors become a table. int16 becomes ``leaky_requantize``, defined here too: a
rescale with one fixed-point factor for each sign of x, as TFLite's kernel does it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import INT32, Binary, Call, Cast, Expr, Imm, Select, clamp
from utvm.op.base import Arrays, Op, Types, expect, expect_factor, expect_float32, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.definition import Element, cast
from utvm.op.elementwise import check_floats, infer_unary
from utvm.op.fixed_point import int64_of, multiply_by_quantized_multiplier, saturate
from utvm.op.lut import emit_table_of
from utvm.op.quantize_activation import leaky_relu_params, leaky_relu_reference
from utvm.op.quantized import quant_of


@dataclass(frozen=True)
class LeakyReluAttrs(Attrs):
    """``alpha``: the slope below zero."""

    alpha: float = 0.0


@dataclass(frozen=True)
class LeakyRequantizeAttrs(Attrs):
    """One fixed-point factor for x >= 0, another below; ``negative`` turns the second's sign."""

    multiplier: int
    shift: int
    alpha_multiplier: int
    alpha_shift: int
    negative: bool = False


def _reference(inputs: Arrays, attrs: LeakyReluAttrs) -> tuple[np.ndarray, ...]:
    x = inputs[0]
    return (np.where(x > 0, x, x * np.float32(attrs.alpha)).astype(x.dtype),)


def _compute(element: Element) -> Expr:
    x = element.bind(element.arg(0))
    positive = Binary(">", x, Imm(0.0, x.dtype))
    return Select(positive, x, x * Imm(float(element.attrs.alpha), x.dtype))


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    attrs: LeakyReluAttrs = node.attrs  # type: ignore[assignment]
    if b.quantization(node.outputs[0]) is None:
        return None
    (x,) = node.inputs
    source, out = quant_of(b.value(x)), quant_of(b.value(node.outputs[0]))
    p = leaky_relu_params(source, out, attrs.alpha)
    if source.dtype is not DType.INT16:
        return (emit_table_of(b, x, lambda v: leaky_relu_reference(v, p), out.dtype),)
    plain = LeakyRequantizeAttrs(
        p.multiplier, p.shift, p.alpha_multiplier, p.alpha_shift, p.alpha_negative
    )
    return (b.emit("leaky_requantize", [x], plain),)


def _infer(inputs: Types, attrs: LeakyReluAttrs) -> tuple[TensorType, ...]:
    expect_float32("alpha", attrs.alpha)
    return infer_unary(inputs, attrs)


def _infer_requantize(inputs: Types, attrs: LeakyRequantizeAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    expect(inputs[0].dtype is DType.INT16, "wrong element type", "int16", inputs[0])
    expect_factor(attrs.multiplier, attrs.shift)
    expect_factor(attrs.alpha_multiplier, attrs.alpha_shift)
    return (inputs[0],)


def _reference_requantize(inputs: Arrays, attrs: LeakyRequantizeAttrs) -> tuple[np.ndarray, ...]:
    x = int64_of(inputs[0])
    above = multiply_by_quantized_multiplier(x, attrs.multiplier, attrs.shift)
    below = int64_of(multiply_by_quantized_multiplier(x, attrs.alpha_multiplier, attrs.alpha_shift))
    total = np.where(x >= 0, above, -below if attrs.negative else below)
    return (saturate(total, -32768, 32767).astype(np.int16),)


def _compute_requantize(element: Element) -> Expr:
    attrs: LeakyRequantizeAttrs = element.attrs
    x = element.bind(cast(element.arg(0), INT32))
    above = Call("requantize", (x, Imm(attrs.multiplier), Imm(attrs.shift)), INT32)
    alpha = (Imm(attrs.alpha_multiplier), Imm(attrs.alpha_shift))
    below: Expr = Call("requantize", (x, *alpha), INT32)
    if attrs.negative:
        below = Imm(0) - clamp(below, -32768, 32768)
    scaled = element.bind(Select(Binary(">=", x, Imm(0)), above, below))
    return Cast(DType.INT16, clamp(scaled, -32768, 32767))


OP = Op(
    "leaky_relu",
    LeakyReluAttrs,
    _infer,
    check_floats,
    reference=_reference,
    compute=_compute,
    legalize=_legalize,
    elementwise=True,
)
LEAKY_REQUANTIZE = Op(
    "leaky_requantize",
    LeakyRequantizeAttrs,
    _infer_requantize,
    reference=_reference_requantize,
    compute=_compute_requantize,
    elementwise=True,
)
