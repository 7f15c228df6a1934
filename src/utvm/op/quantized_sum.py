"""Legalization of quantized ADD and SUB.

In: a quantized node of two operands. Out: plain nodes that compute what TFLite's reference kernels
do: both operands on a common scale, summed, and brought to the output scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Node
from utvm.op.builder import GraphBuilder
from utvm.op.cast import CastAttrs
from utvm.op.clip import ClipAttrs
from utvm.op.fixed_point import int64_of
from utvm.op.lut import BYTES, emit_binary_lut
from utvm.op.quantize_arithmetic import (
    PotSumParams,
    SumParams,
    add_reference,
    pot_sum_params,
    sub_reference,
    sum_params,
)
from utvm.op.quantize_params import Activation, Quant
from utvm.op.quantized import finish_float, quant_of, requantize_pairs
from utvm.op.requantize import RequantizeAttrs
from utvm.op.sum_linear import emit_sum_linear

REFERENCES = {"add": add_reference, "sub": sub_reference}


def legalize_sum(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    """int32 rescales of both operands (20 bits of headroom, 15 for int16), the sum, one rescale.

    Sums of bytes become ``sum_linear``, or tables where only one operand varies.
    """
    if b.quantization(node.outputs[0]) is None:
        return finish_float(b, node)
    attrs: Any = node.attrs
    left, right = (quant_of(b.value(name)) for name in node.inputs)
    out = quant_of(b.value(node.outputs[0]))
    activation = Activation(attrs.activation)
    pot = pot_sum_params(node.op, left, right, out, activation) if attrs.power_of_two else None
    if pot is not None:
        return (_pot_sum(b, node, pot),)
    p = sum_params(node.op, left, right, out, activation)
    reference = REFERENCES[node.op]
    table = emit_binary_lut(b, node, lambda x, y: reference(x, y, p), out.dtype)
    if table is None and out.dtype in BYTES:
        table = _linear_sum(b, node, p, (left, right, out))
    if table is not None:
        return (table,)
    total = b.emit(node.op, [
        _operand(b, node.inputs[0], p, left.zero_point, (p.multiplier1, p.shift1)),
        _operand(b, node.inputs[1], p, right.zero_point, (p.multiplier2, p.shift2)),
    ], type(attrs)())  # fmt: skip
    result = RequantizeAttrs(out.dtype.value, p.qmin, p.qmax, output_zero_point=p.zero_point)
    return (requantize_pairs(b, total, [(p.multiplier, p.shift)], result),)


def _linear_sum(
    b: GraphBuilder, node: Node, p: SumParams, quants: tuple[Quant, Quant, Quant]
) -> str | None:
    """``sum_linear`` on bytes; None where no constants are exact."""
    left, right, out = quants
    x = np.arange(left.qmin, left.qmax + 1)[:, None]
    y = np.arange(right.qmin, right.qmax + 1)[None]
    results = int64_of(REFERENCES[node.op](x, y, p))
    sign = 1 if node.op == "add" else -1
    reals = (left.f64 / out.f64, sign * right.f64 / out.f64)
    return emit_sum_linear(b, node.inputs, results, reals, (p.qmin, p.qmax), out.dtype)


def _operand(
    b: GraphBuilder, name: str, p: SumParams, zero_point: int, pair: tuple[int, int]
) -> str:
    int32 = DType.INT32
    attrs = RequantizeAttrs(
        int32.value,
        int32.minimum,
        int32.maximum,
        input_zero_point=zero_point,
        left_shift=p.left_shift,
    )
    return requantize_pairs(b, name, [pair], attrs)


def _pot_sum(b: GraphBuilder, node: Node, p: PotSumParams) -> str:
    attrs: Any = node.attrs
    names = []
    for name, shift in zip(node.inputs, (p.right_shift1, p.right_shift2), strict=True):
        wide = b.emit("cast", [name], CastAttrs("int32"))
        if shift:
            amount = b.constant(np.array([shift], np.int32), "shift")
            wide = b.emit("shift_right_rounding", [wide, amount])
        names.append(wide)
    total = b.emit(node.op, names, type(attrs)())
    clipped = b.emit("clip", [total], ClipAttrs(p.qmin, p.qmax))
    return b.emit("cast", [clipped], CastAttrs("int16"))
