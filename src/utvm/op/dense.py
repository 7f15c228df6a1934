"""``dense``: a fully connected layer, x [B, I] times weights [O, I] transposed, plus bias [O].

Plain form: integers accumulate into ``accumulator``; weights minus ``weight_zero_point``.
``legalize`` folds the input's zero point into the bias and emits the rescale behind, which TFLite's
reference kernel does by a double product with one rounding, unlike the convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import Expr, Load, Stmt, Var
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.channels import weighted_channels
from utvm.op.conv2d import accumulator_type, check_weighted_sum
from utvm.op.definition import Definition, cast, grid, register, weighted_sum
from utvm.op.elementwise import expect_activation
from utvm.op.fixed_point import Int64Array
from utvm.op.hybrid import hybrid_weights, legalize_hybrid
from utvm.op.quantize_conv import fully_connected_params, fully_connected_rescale
from utvm.op.quantize_params import Activation
from utvm.op.quantized import (
    PlainOperands,
    finish_float,
    plain_operands,
    quant_of,
    weight_quantization,
    weighted_range,
    with_narrow_sum,
)
from utvm.op.quantized_linear import Rescale, find_linear
from utvm.op.ranges import Interval, Operands, sum_range
from utvm.op.requantize_double import emit_double
from utvm.op.requantize_long import emit_long


@dataclass(frozen=True)
class DenseAttrs(Attrs):
    """``activation`` exists only before legalization; the zero points only after.

    ``asymmetric_inputs``: a hybrid layer quantizes its input with a zero point (see ``hybrid``).
    """

    activation: str = "none"
    weight_zero_point: int = 0
    accumulator: str = "int32"
    asymmetric_inputs: bool = False


def _infer(inputs: Types, attrs: DenseAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 2, 3)
    expect_activation(attrs.activation)
    x, weight = inputs[:2]
    expect(len(x.shape) == 2 and len(weight.shape) == 2, "dense takes [B, I] and [O, I]",
           "rank 2", f"{x}, {weight}")  # fmt: skip
    expect(x.shape[1] == weight.shape[1], "depths differ", str(weight.shape[1]), x.shape[1])
    if len(inputs) == 3:
        expect(inputs[2].elements == weight.shape[0], "one bias per row of weights",
               str(weight.shape[0]), inputs[2])  # fmt: skip
    dtype = accumulator_type(x, attrs.accumulator)
    return (TensorType((x.shape[0], weight.shape[0]), dtype),)


def _reference(inputs: Arrays, attrs: DenseAttrs) -> tuple[np.ndarray, ...]:
    x, weight = inputs[:2]
    wide = x.dtype if x.dtype.kind == "f" else np.dtype(np.int64)
    result = x.astype(wide) @ (weight.astype(wide) - attrs.weight_zero_point).T
    if len(inputs) == 3:
        result = result + inputs[2].reshape(-1).astype(wide)
    return (result.astype(wide if wide.kind == "f" else attrs.accumulator),)


def _define(d: Definition) -> tuple[Stmt, ...]:
    """Loops n (rows) and c (outputs) around the reduction r."""
    batch, depth = d.buffers[0].shape
    outputs = d.buffers[1].shape[0]
    n, c, r = Var("n"), Var("c"), Var("r")
    acc = register("acc", d.output.dtype)

    def update(total: Expr) -> Expr:
        weight = cast(d.load(1, c, r), acc.dtype)
        if d.attrs.weight_zero_point:
            weight = weight - d.attrs.weight_zero_point
        return total + cast(d.load(0, n, r), acc.dtype) * weight

    bias: Expr | None = None
    if len(d.buffers) == 3:
        bias = cast(Load(d.buffers[2].view(outputs), (c,)), acc.dtype)
    body, total = weighted_sum(acc, bias, (("r", depth),), update)
    return grid(("n", "c"), (batch, outputs), body + d.store((n, c), total))


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    attrs: DenseAttrs = node.attrs  # type: ignore[assignment]
    hybrid = hybrid_weights(b, node)
    if hybrid is not None:
        symmetric, plain_attrs = not attrs.asymmetric_inputs, {"asymmetric_inputs": False}
        return legalize_hybrid(b, node, hybrid, plain_attrs, symmetric=symmetric)
    if b.quantization(node.outputs[0]) is None:
        return finish_float(b, node)
    plain = with_narrow_sum(b, plain_operands(b, node, filter_axis=0), 0)
    attrs = replace(
        attrs,
        activation="none",
        weight_zero_point=plain.attrs["weight_zero_point"],
        accumulator=plain.attrs["accumulator"],
    )
    total = b.emit("dense", plain.inputs, attrs, node.name)
    return (_rescaled(b, node, total, plain),)


def _rescaled(b: GraphBuilder, node: Node, total: str, plain: PlainOperands) -> str:
    """TFLite's reference kernel rescales by a double; this does the same in integers."""
    x, weight = node.inputs[:2]
    quantization = weight_quantization(b, weight, 0)
    out = quant_of(b.value(node.outputs[0]))
    p = fully_connected_params(
        quant_of(b.value(x)),
        quantization.scales,
        quantization.zero_point,
        out,
        Activation(node.attrs.activation),  # type: ignore[attr-defined]
    )
    rescale = Rescale(
        lambda acc: fully_connected_rescale(acc, p),
        p.scales,
        p.zero_point,
        p.qmin,
        p.qmax,
        out.dtype,
    )
    acc_range = _range(b, plain)
    linear = find_linear(rescale, acc_range, by_sign=True)
    if linear is not None:
        return linear.emit(b, total)
    return emit_long(b, total, rescale, acc_range) or emit_double(b, total, rescale)


def _range(b: GraphBuilder, plain: PlainOperands) -> tuple[Int64Array, Int64Array]:
    """The accumulator's range per output; the widest possible for weights unknown as yet."""
    known = weighted_range(b, plain, 0)
    if known is not None:
        return known
    outputs, depth = b.type_of(plain.inputs[1]).shape
    reach = np.full(outputs, min(depth * 255 * 255 + (1 << 24), (1 << 31) - 1), np.int64)
    return -reach, reach


def _macs(inputs: Types, outputs: Types) -> int:
    return outputs[0].elements * inputs[1].shape[1]


def _ranges(operands: Operands, result: TensorType, attrs: DenseAttrs) -> Interval | None:
    x, weight = operands[:2]
    if weight.data is None or x.type.dtype.is_float:
        return None
    data = weight.data.astype(np.int64) - attrs.weight_zero_point
    bias = operands[2] if len(operands) == 3 else None
    depth = x.type.shape[1]
    return sum_range(x.interval.over(depth), data[None, :, None], bias, result.dtype)


OP = Op(
    "dense",
    DenseAttrs,
    _infer,
    check_weighted_sum,
    reference=_reference,
    define=_define,
    legalize=_legalize,
    macs=_macs,
    operands=("x", "weight", "bias"),
    ranges=_ranges,
    channels=weighted_channels,
)
