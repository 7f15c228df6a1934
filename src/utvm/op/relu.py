"""``relu``: TFLite's RELU, RELU6 and RELU_N1_TO_1 as operators of their own.

Composite: floats become ``clip``. Quantized tensors become ``clip`` where the scales agree, else a
table (8 bits) or ``requantize`` (int16).
"""

from __future__ import annotations

from dataclasses import dataclass

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.op.base import Op, Types, expect, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.clip import ClipAttrs
from utvm.op.elementwise import FLOAT_RANGE
from utvm.op.lut import emit_table_of
from utvm.op.quantize_activation import relu_params, relu_reference
from utvm.op.quantized import quant_of, requantize_pairs
from utvm.op.requantize import RequantizeAttrs


@dataclass(frozen=True)
class ReluAttrs(Attrs):
    """``activation``: relu, relu6 or relu_n1_to_1."""

    activation: str = "relu"


def _infer(inputs: Types, attrs: ReluAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    expect(attrs.activation in FLOAT_RANGE, "unknown activation", ", ".join(FLOAT_RANGE),
           attrs.activation)  # fmt: skip
    return (inputs[0],)


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    attrs: ReluAttrs = node.attrs  # type: ignore[assignment]
    low, high = FLOAT_RANGE[attrs.activation]
    (x,) = node.inputs
    if b.quantization(node.outputs[0]) is None:
        return (b.emit("clip", [x], ClipAttrs(low, high)),)
    source, out = quant_of(b.value(x)), quant_of(b.value(node.outputs[0]))
    p = relu_params(source, out, low, high)
    if source == out and p.qmin <= p.qmax:
        return (b.emit("clip", [x], ClipAttrs(p.qmin, p.qmax)),)
    if source.dtype is not DType.INT16:
        return (emit_table_of(b, x, lambda v: relu_reference(v, p), out.dtype),)
    result = RequantizeAttrs(out.dtype.value, p.qmin, p.qmax)
    return (requantize_pairs(b, x, [(p.multiplier, p.shift)], result),)


OP = Op("relu", ReluAttrs, _infer, legalize=_legalize)
