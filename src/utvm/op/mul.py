"""``mul``: elementwise product with broadcasting; quantized as TFLite's MUL.

Quantized: the int32 product of the differences to the zero points, rescaled once. 8-bit products
with one fixed operand, and squares, are tables.
"""

from __future__ import annotations

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Node
from utvm.op.builder import GraphBuilder
from utvm.op.cast import CastAttrs
from utvm.op.elementwise import BinaryAttrs, binary_op
from utvm.op.fixed_point import Int64Array, int64_of, requantize
from utvm.op.lut import emit_binary_lut
from utvm.op.quantize_arithmetic import ProductParams, mul_params, mul_reference
from utvm.op.quantize_params import Activation, Quant
from utvm.op.quantized import finish_float, quant_of, requantize_pairs
from utvm.op.quantized_linear import Rescale, find_linear
from utvm.op.requantize import RequantizeAttrs


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    attrs: BinaryAttrs = node.attrs  # type: ignore[assignment]
    if b.quantization(node.outputs[0]) is None:
        return finish_float(b, node)
    left, right = (quant_of(b.value(name)) for name in node.inputs)
    out = quant_of(b.value(node.outputs[0]))
    p = mul_params(left, right, out, Activation(attrs.activation))
    table = emit_binary_lut(b, node, lambda x, y: mul_reference(x, y, p), out.dtype)
    if table is not None:
        return (table,)
    product = b.emit("mul", [
        _difference(b, node.inputs[0], left.zero_point),
        _difference(b, node.inputs[1], right.zero_point),
    ], BinaryAttrs())  # fmt: skip
    linear = find_linear(_rescale(p, out.dtype), _range(left, right), by_sign=True)
    if linear is not None:
        return (linear.emit(b, product),)
    result = RequantizeAttrs(out.dtype.value, p.qmin, p.qmax, output_zero_point=p.zero_point)
    return (requantize_pairs(b, product, [(p.multiplier, p.shift)], result),)


def _rescale(p: ProductParams, dtype: DType) -> Rescale:
    """The reference rescale of a product."""

    def function(product: Int64Array) -> Int64Array:
        return int64_of(requantize(product, p.multiplier, p.shift, p.zero_point, p.qmin, p.qmax))

    scale = p.multiplier * 2.0 ** (p.shift - 31)
    return Rescale(function, (scale,), p.zero_point, p.qmin, p.qmax, dtype)


def _range(left: Quant, right: Quant) -> tuple[Int64Array, Int64Array]:
    """The least and the greatest product of two differences to the zero points."""
    first, second = (np.array([q.qmin, q.qmax]) - q.zero_point for q in (left, right))
    products = np.outer(first, second)
    return int64_of([products.min()]), int64_of([products.max()])


def _difference(b: GraphBuilder, name: str, zero_point: int) -> str:
    """int32 differences to the zero point."""
    wide = b.emit("cast", [name], CastAttrs("int32"))
    if zero_point == 0:
        return wide
    return b.emit("sub", [wide, b.constant(np.array([zero_point], np.int32), "zero_point")])


OP = binary_op("mul", "*", np.multiply, BinaryAttrs, _legalize)
