"""``softmax``: exp(beta * x) over the last axis, divided by its sum.

The plain form takes floats and subtracts the row's maximum before it exponentiates. Quantized nodes
become ``softmax_table`` (8-bit inputs) or ``softmax16`` (int16), which follow TFLite's fixed-point
kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import Alloc, Binary, Call, Imm, Let, Load, Stmt, Store, Var, loop
from utvm.op.base import Arrays, Op, Types, expect, expect_float32, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.definition import Definition, register
from utvm.op.elementwise import check_floats
from utvm.op.quantize_softmax import (
    exp_lut16,
    reciprocal_lut16,
    softmax16_params,
    softmax_exp_table,
    softmax_params,
)
from utvm.op.quantized import quant_of
from utvm.op.softmax16 import Softmax16Attrs
from utvm.op.softmax_rows import Rows
from utvm.op.softmax_table import SoftmaxTableAttrs

F32 = DType.FLOAT32


@dataclass(frozen=True)
class SoftmaxAttrs(Attrs):
    """``beta`` multiplies the operand."""

    beta: float = 1.0


def _infer(inputs: Types, attrs: SoftmaxAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    expect(len(inputs[0].shape) > 0, "softmax needs an axis", "rank 1 or more", inputs[0])
    expect_float32("beta", attrs.beta)
    return (inputs[0],)


def _reference(inputs: Arrays, attrs: SoftmaxAttrs) -> tuple[np.ndarray, ...]:
    x = inputs[0].astype(np.float32)
    with np.errstate(over="ignore"):
        powers = np.exp((x - x.max(axis=-1, keepdims=True)) * np.float32(attrs.beta))
    return ((powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32),)


def _define(d: Definition) -> tuple[Stmt, ...]:
    """Per row: the maximum, the exponentials and their sum, the quotients."""
    rows = Rows(d)
    powers = d.workspace("powers", F32, rows.depth)
    scale = Imm(float(d.attrs.beta), F32)
    total = register("total", F32)
    r, k, c = Var("r"), Var("k"), Var("c")
    power = Call("exp", ((rows.element(k) - rows.largest) * scale,), F32)
    body = (
        *rows.find_largest(r),
        Alloc(total),
        Store(total, (), Imm(0.0, F32)),
        loop(
            k,
            rows.depth,
            Let(Var("power", F32), power),
            Store(powers, (k,), Var("power", F32)),
            Store(total, (), Load(total) + Var("power", F32)),
        ),
        Let(Var("sum", F32), Load(total)),
        loop(
            c,
            rows.depth,
            *rows.store(c, Binary("/", Load(powers, (c,)), Var("sum", F32))),
            parallel=True,
        ),
    )
    return rows.around(body)


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    if b.quantization(node.outputs[0]) is None:
        return None
    x, out = quant_of(b.value(node.inputs[0])), quant_of(b.value(node.outputs[0]))
    beta = node.attrs.beta  # type: ignore[attr-defined]
    if x.dtype is DType.INT16:
        p16 = softmax16_params(x, out, beta)
        exps = b.constant(exp_lut16().astype(np.int16), "exp")
        reciprocals = b.constant(reciprocal_lut16().astype(np.int16), "reciprocal")
        attrs16 = Softmax16Attrs(p16.multiplier, p16.shift)
        return (b.emit("softmax16", [node.inputs[0], exps, reciprocals], attrs16, node.name),)
    p = softmax_params(x, out, beta)
    table = b.constant(softmax_exp_table(p), "exp")
    attrs = SoftmaxTableAttrs(out.dtype.value)
    return (b.emit("softmax_table", [node.inputs[0], table], attrs, node.name),)


OP = Op(
    "softmax",
    SoftmaxAttrs,
    _infer,
    check_floats,
    reference=_reference,
    define=_define,
    legalize=_legalize,
)
