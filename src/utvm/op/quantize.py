"""``quantize``: real numbers to integers, or integers to another scale; TFLite's QUANTIZE.

Plain form, for floats: ``clamp(round(x / scale) + zero_point)``, halves away from zero, NaN to the
lower bound. From integers, 8-bit tensors become a table, others ``requantize``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import INT32, Binary, Cast, Expr, Imm, Select, clamp
from utvm.op.base import Arrays, Constants, Op, Types, expect, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.cast import CastAttrs
from utvm.op.definition import Element
from utvm.op.fixed_point import round_half_away
from utvm.op.lut import BYTES, emit_table_of
from utvm.op.quantize_convert import requantize_params, requantize_reference
from utvm.op.quantize_params import Quant
from utvm.op.quantized import quant_of, requantize_pairs
from utvm.op.requantize import RequantizeAttrs
from utvm.support.errors import UnsupportedError

F32 = DType.FLOAT32
# The float below one half: adding it and truncating rounds halves up and nothing else, up to 2^23.
BELOW_HALF = float(np.nextafter(np.float32(0.5), np.float32(0)))


@dataclass(frozen=True)
class QuantizeAttrs(Attrs):
    """``dtype``: the result's type. ``scale`` is 0 before legalization: the annotations say it."""

    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    @property
    def steps(self) -> tuple[int, int]:
        """The least and the greatest quotient that the type holds."""
        dtype = DType(self.dtype)
        return dtype.minimum - self.zero_point, dtype.maximum - self.zero_point


def _infer(inputs: Types, attrs: QuantizeAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    integers = [d.value for d in DType if d.is_integer]
    expect(attrs.dtype in integers, "quantize makes integers", ", ".join(integers), attrs.dtype)
    if attrs.scale:
        Quant(attrs.scale, attrs.zero_point, DType(attrs.dtype))
    if inputs[0].dtype.is_float:
        expect(DType(attrs.dtype).bits <= 16, "floats are quantized to 8 or 16 bits",
               "int8, uint8 or int16", attrs.dtype)  # fmt: skip
    return (TensorType(inputs[0].shape, DType(attrs.dtype)),)


def _check(inputs: Types, data: Constants, attrs: QuantizeAttrs) -> None:
    expect(inputs[0].dtype.is_float and attrs.scale > 0, "a scale is missing",
           "a float, and a scale", f"{inputs[0]}, scale {attrs.scale}")  # fmt: skip


def _reference(inputs: Arrays, attrs: QuantizeAttrs) -> tuple[np.ndarray, ...]:
    low, high = attrs.steps
    with np.errstate(all="ignore"):
        quotient = inputs[0].astype(np.float32) / np.float32(attrs.scale)
    steps = np.clip(round_half_away(np.nan_to_num(quotient, nan=low, copy=True)), low, high)
    return ((steps.astype(np.int64) + attrs.zero_point).astype(attrs.dtype),)


def _compute(element: Element) -> Expr:
    attrs: QuantizeAttrs = element.attrs
    low, high = attrs.steps
    quotient = element.bind(Binary("/", element.arg(0), Imm(float(attrs.scale), F32)))
    limited = element.bind(clamp(quotient, float(low), float(high)))
    half = Select(Binary("<", limited, Imm(0.0, F32)), Imm(-BELOW_HALF, F32), Imm(BELOW_HALF, F32))
    steps = Cast(INT32, limited + half)
    return Cast(DType(attrs.dtype), steps + attrs.zero_point)


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    attrs: QuantizeAttrs = node.attrs  # type: ignore[assignment]
    (x,) = node.inputs
    if attrs.scale:
        return None
    out = quant_of(b.value(node.outputs[0]))
    if b.type_of(x).dtype.is_float:
        attrs = replace(attrs, scale=out.f64, zero_point=out.zero_point)
        return (b.emit("quantize", [x], attrs),)
    return (_rescaled(b, x, quant_of(b.value(x)), out),)


def _rescaled(b: GraphBuilder, x: str, source: Quant, out: Quant) -> str:
    """Integers on the scale of ``out``."""
    if source == out:
        return x
    if source.dtype is DType.INT32 and source.zero_point:
        raise UnsupportedError(
            "int32 with a zero point is not supported",
            expected="zero point 0",
            found=str(source.zero_point),
        )
    p = requantize_params(source, out)
    if source.f32 == out.f32 and _holds(source, out):
        wide = b.emit("cast", [x], CastAttrs("int32"))
        offset = np.array([out.zero_point - source.zero_point], np.int32)
        moved = b.emit("add", [wide, b.constant(offset, "offset")]) if offset.any() else wide
        return b.emit("cast", [moved], CastAttrs(out.dtype.value))
    if source.dtype in BYTES:
        return emit_table_of(b, x, lambda v: requantize_reference(v, p), out.dtype)
    result = RequantizeAttrs(
        out.dtype.value, p.qmin, p.qmax, p.input_zero_point, output_zero_point=p.zero_point
    )
    return requantize_pairs(b, x, [(p.multiplier, p.shift)], result)


def _holds(source: Quant, out: Quant) -> bool:
    """Whether every value of ``source``, moved by the zero points, is one of ``out``."""
    offset = out.zero_point - source.zero_point
    return out.qmin <= source.qmin + offset and source.qmax + offset <= out.qmax


OP = Op(
    "quantize",
    QuantizeAttrs,
    _infer,
    _check,
    reference=_reference,
    compute=_compute,
    legalize=_legalize,
    elementwise=True,
)
