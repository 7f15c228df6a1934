"""``hard_swish``: x * relu6(x + 3) / 6 of every element.

In: floats, or quantized 8-bit tensors, which become a table of TFLite's fixed-point kernel.
TFLite's kernel does not take int16, so it is refused.
"""

from __future__ import annotations

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Node
from utvm.ir.loop import Binary, Expr, Imm, clamp
from utvm.op.base import Arrays, NoAttrs, Op
from utvm.op.builder import GraphBuilder
from utvm.op.definition import Element
from utvm.op.elementwise import check_floats, infer_unary
from utvm.op.lut import emit_table_of
from utvm.op.quantize_activation import hard_swish_params, hard_swish_reference
from utvm.op.quantized import quant_of

F32 = DType.FLOAT32


def _reference(inputs: Arrays, attrs: NoAttrs) -> tuple[np.ndarray, ...]:
    x = inputs[0].astype(np.float32)
    gate = np.clip(x + np.float32(3), np.float32(0), np.float32(6))
    return (x * gate / np.float32(6),)


def _compute(element: Element) -> Expr:
    x = element.bind(element.arg(0))
    gate = clamp(x + Imm(3.0, F32), 0.0, 6.0)
    return Binary("/", x * gate, Imm(6.0, F32))


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    if b.quantization(node.outputs[0]) is None:
        return None
    (x,) = node.inputs
    source, out = quant_of(b.value(x)), quant_of(b.value(node.outputs[0]))
    p = hard_swish_params(source, out)
    return (emit_table_of(b, x, lambda v: hard_swish_reference(v, p), out.dtype),)


OP = Op(
    "hard_swish",
    NoAttrs,
    infer_unary,
    check_floats,
    reference=_reference,
    compute=_compute,
    legalize=_legalize,
    elementwise=True,
)
