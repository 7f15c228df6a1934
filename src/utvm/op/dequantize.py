"""``dequantize``: integers to real numbers, scale * (x - zero_point); TFLite's DEQUANTIZE.

In: integers of up to 32 bits, quantized per tensor. Out: float32, one product rounded once. The
scale comes from the value's annotation; ``legalize`` writes it into the attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import INT32, Cast, Expr, Imm
from utvm.op.base import Arrays, Constants, Op, Types, expect, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.definition import Element, cast
from utvm.op.quantize_convert import dequantize_reference
from utvm.op.quantize_params import Quant
from utvm.op.quantized import quant_of


@dataclass(frozen=True)
class DequantizeAttrs(Attrs):
    """``scale`` is 0 before legalization: the model's annotations say it."""

    scale: float = 0.0
    zero_point: int = 0


def _infer(inputs: Types, attrs: DequantizeAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    x = inputs[0]
    expect(x.dtype.is_integer and x.dtype.bits <= 32, "integers are dequantized",
           "up to 32 bits", x)  # fmt: skip
    if attrs.scale:
        Quant(attrs.scale, attrs.zero_point, x.dtype)
    return (TensorType(x.shape, DType.FLOAT32),)


def _check(inputs: Types, data: Constants, attrs: DequantizeAttrs) -> None:
    expect(attrs.scale > 0, "the scale is missing")
    expect(inputs[0].dtype is not DType.UINT32, "uint32 is not dequantized", found=inputs[0])


def _reference(inputs: Arrays, attrs: DequantizeAttrs) -> tuple[np.ndarray, ...]:
    x = inputs[0]
    quant = Quant(attrs.scale, attrs.zero_point, DType(x.dtype.name))
    return (dequantize_reference(x, quant),)


def _compute(element: Element) -> Expr:
    attrs: DequantizeAttrs = element.attrs
    x = cast(element.arg(0), INT32)
    centred = x - attrs.zero_point if attrs.zero_point else x
    return Cast(DType.FLOAT32, centred) * Imm(float(attrs.scale), DType.FLOAT32)


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    (x,) = node.inputs
    if isinstance(node.attrs, DequantizeAttrs) and node.attrs.scale:
        return None
    quant = quant_of(b.value(x))
    return (b.emit("dequantize", [x], DequantizeAttrs(quant.f64, quant.zero_point)),)


OP = Op(
    "dequantize",
    DequantizeAttrs,
    _infer,
    _check,
    reference=_reference,
    compute=_compute,
    legalize=_legalize,
    elementwise=True,
)
