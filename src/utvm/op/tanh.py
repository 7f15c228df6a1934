"""``tanh``: the hyperbolic tangent of every element; TFLite's TANH.

In: floats, or quantized tensors; int16 results have the scale that TFLite fixes. 8-bit ones become
a table, int16 becomes ``sigmoid16``.
"""

from __future__ import annotations

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Node
from utvm.ir.loop import Call, Expr
from utvm.op.base import Arrays, NoAttrs, Op
from utvm.op.builder import GraphBuilder
from utvm.op.definition import Element
from utvm.op.elementwise import check_floats, infer_unary
from utvm.op.lut import emit_lut
from utvm.op.quantize_activation import tanh16_params, tanh_table
from utvm.op.quantized import quant_of
from utvm.op.sigmoid16 import emit_sigmoid16


def _reference(inputs: Arrays, attrs: NoAttrs) -> tuple[np.ndarray, ...]:
    return (np.tanh(inputs[0].astype(np.float64)).astype(np.float32),)


def _compute(element: Element) -> Expr:
    return Call("tanh", (element.arg(0),), DType.FLOAT32)


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    if b.quantization(node.outputs[0]) is None:
        return None
    (x,) = node.inputs
    source, out = quant_of(b.value(x)), quant_of(b.value(node.outputs[0]))
    if source.dtype is DType.INT16:
        return (emit_sigmoid16(b, x, "tanh", tanh16_params(source, out)),)
    return (emit_lut(b, x, tanh_table(source, out), out.dtype),)


OP = Op(
    "tanh",
    NoAttrs,
    infer_unary,
    check_floats,
    reference=_reference,
    compute=_compute,
    legalize=_legalize,
    elementwise=True,
)
