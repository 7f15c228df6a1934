"""``sigmoid16``: LOGISTIC and TANH of int16 by an interpolated table, exactly as TFLite's kernels.

Operands: x (int16) and ``table``, always the same 256 samples of the sigmoid in steps of 2^-16.
x times ``multiplier`` shifted right by ``shift`` is in steps of 1/(3 * 4096); its magnitude selects
the samples, its sign mirrors the curve. Made by the legalization of ``logistic`` and ``tanh``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import INT32, Binary, Cast, Expr, Imm, Select, maximum, minimum
from utvm.op.base import (
    Arrays,
    Constants,
    Op,
    Types,
    constant_operand,
    expect,
    expect_inputs,
    expect_range,
)
from utvm.op.builder import GraphBuilder
from utvm.op.definition import Element, cast
from utvm.op.quantize_activation import (
    SigmoidParams,
    logistic16_reference,
    sigmoid_table16,
    tanh16_reference,
)

CURVES = ("logistic", "tanh")


@dataclass(frozen=True)
class Sigmoid16Attrs(Attrs):
    """``curve``: which of CURVES."""

    curve: str
    multiplier: int
    shift: int


def _infer(inputs: Types, attrs: Sigmoid16Attrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 2)
    x, table = inputs
    expect(x.dtype is DType.INT16, "wrong element type", "int16", x)
    expect(table == TensorType((256,), DType.UINT16), "wrong table", "uint16[256]", table)
    expect(attrs.curve in CURVES, "unknown curve", " or ".join(CURVES), attrs.curve)
    expect_range("the shift", attrs.shift, 0, 31)
    most = DType.INT16.maximum if attrs.shift else DType.UINT16.maximum
    expect_range("the multiplier", attrs.multiplier, 0, most)
    return (x,)


def _check(inputs: Types, data: Constants, attrs: Sigmoid16Attrs) -> None:
    table = constant_operand(data[1], "samples of the sigmoid")
    expect(np.array_equal(table, sigmoid_table16()), "the table does not hold the sigmoid")


def _reference(inputs: Arrays, attrs: Sigmoid16Attrs) -> tuple[np.ndarray, ...]:
    reference = logistic16_reference if attrs.curve == "logistic" else tanh16_reference
    params = SigmoidParams(attrs.multiplier, attrs.shift)
    return (reference(inputs[0], params).astype(np.int16),)


def _compute(element: Element) -> Expr:
    attrs: Sigmoid16Attrs = element.attrs
    logistic = attrs.curve == "logistic"
    bits = 9 if logistic else 8
    value = cast(element.arg(0), INT32) * attrs.multiplier
    if attrs.shift:
        value = (value + (1 << (attrs.shift - 1))) >> attrs.shift
    value = element.bind(value)
    magnitude = element.bind(maximum(value, Imm(0) - value))
    position = element.bind(magnitude >> bits)
    index = element.bind(minimum(position, 254))
    low = element.bind(cast(element.load(1, (index,)), INT32))
    high = cast(element.load(1, (index + 1,)), INT32)
    fraction = Binary("&", magnitude, Imm((1 << bits) - 1))
    # low << bits, as a product: samples reach 2^16.
    between = low * (1 << bits) + fraction * (high - low)
    last = 0x7FFF << 10 if logistic else 0xFFFF << 8
    curve = element.bind(Select(Binary("<", position, Imm(255)), between, Imm(last)))
    negative = Binary("<", value, Imm(0))
    if logistic:
        half = 1 << 9
        centred = Select(negative, Imm((1 << 25) + half - 1) - curve, curve + half)
        return Cast(DType.INT16, centred >> 10)
    one, half = 1 << 23, 1 << 7
    centred = Select(negative, Imm(one + half - 1) - curve, curve - (one - half))
    return Cast(DType.INT16, centred >> 8)


def emit_sigmoid16(b: GraphBuilder, x: str, curve: str, p: SigmoidParams) -> str:
    """LOGISTIC or TANH of an int16 value."""
    table = b.constant(sigmoid_table16().astype(np.uint16), "sigmoid")
    return b.emit("sigmoid16", [x, table], Sigmoid16Attrs(curve, p.multiplier, p.shift))


OP = Op(
    "sigmoid16",
    Sigmoid16Attrs,
    _infer,
    _check,
    reference=_reference,
    compute=_compute,
    elementwise=True,
    operands=("x", "table"),
    tables=(1,),
)
