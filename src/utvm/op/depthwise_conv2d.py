"""``depthwise_conv2d``: one filter or more per input channel; NHWC input, weights [1, KH, KW, C*M].

Result channel ``c * M + m`` is input channel c under filter m, where M is the multiplier. Plain
form and legalization are those of ``conv2d``: integers accumulate into ``accumulator``, floats into
float32, and out-of-image taps read ``input_zero_point``. Here channels are the last axis of the
weights, and that is the axis along which they may be quantized.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Node, TensorType
from utvm.ir.loop import Expr, Imm, Load, Stmt, Var
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.channels import Channels
from utvm.op.conv2d import Conv2dAttrs, accumulator_type, check_weighted_sum
from utvm.op.definition import Definition, cast, grid, register, sum_type, weighted_sum
from utvm.op.elementwise import expect_activation
from utvm.op.hybrid import hybrid_weights, legalize_hybrid
from utvm.op.quantized import (
    PlainOperands,
    finish_float,
    plain_operands,
    rescaled_sum,
    with_narrow_sum,
)
from utvm.op.ranges import Interval, Operands, sum_range
from utvm.op.window import output_size, padded_rows, padding_value, scaled, window_view


def _infer(inputs: Types, attrs: Conv2dAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 2, 3)
    expect_activation(attrs.activation)
    x, weight = inputs[:2]
    expect(len(x.shape) == 4 and len(weight.shape) == 4 and weight.shape[0] == 1,
           "depthwise_conv2d takes NHWC and [1, KH, KW, channels]", "rank 4",
           f"{x}, {weight}")  # fmt: skip
    _, kh, kw, filters = weight.shape
    expect(x.shape[3] > 0 and filters > 0 and filters % x.shape[3] == 0,
           "filters do not fit the input channels", f"a multiple of {x.shape[3]}",
           filters)  # fmt: skip
    if len(inputs) == 3:
        expect(inputs[2].elements == filters, "one bias per filter", str(filters), inputs[2])
    size = output_size(x.shape, (kh, kw), attrs.strides, attrs.dilation, attrs.padding)
    return (TensorType((x.shape[0], *size, filters), accumulator_type(x, attrs.accumulator)),)


def _reference(inputs: Arrays, attrs: Conv2dAttrs) -> tuple[np.ndarray, ...]:
    x, weight = inputs[:2]
    _, kh, kw, filters = weight.shape
    is_float = x.dtype.kind == "f"
    wide = np.float32 if is_float else np.int64
    windows = window_view(
        x, (kh, kw), attrs.strides, attrs.dilation, attrs.padding, attrs.input_zero_point
    )
    windows = np.repeat(windows, filters // x.shape[3], axis=-1).astype(wide)
    weights = weight[0].astype(wide) - wide(attrs.weight_zero_point)
    result = np.einsum("nyxhwc,hwc->nyxc", windows, weights)
    if len(inputs) == 3:
        result = result + inputs[2].reshape(-1).astype(wide)
    dtype = np.float32 if is_float else DType(attrs.accumulator).numpy
    return (result.astype(dtype),)


def _define(d: Definition) -> tuple[Stmt, ...]:
    """Loops n, y, x, c (and m, if the multiplier is above 1) around the taps ky, kx."""
    attrs: Conv2dAttrs = d.attrs
    batch, _, _, channels = d.buffers[0].shape
    _, kh, kw, filters = d.buffers[1].shape
    _, out_rows, out_columns, _ = d.output.shape
    multiplier = filters // channels
    zero = padding_value(d.buffers[0].dtype, attrs.input_zero_point)
    stage, rows = padded_rows(d, (kh, kw), attrs.strides, attrs.dilation, attrs.padding, zero)
    n, y, x, c, m = Var("n"), Var("y"), Var("x"), Var("c"), Var("m")
    filter_index: Expr = c if multiplier == 1 else c * multiplier + m
    taps = None if d.constants[1] is None else d.constants[1].reshape(-1, filters).T
    acc = register("acc", sum_type(d.output.dtype, d.buffers[0].dtype, taps))

    def update(total: Expr) -> Expr:
        ky, kx = Var("ky"), Var("kx")
        row = scaled(y, attrs.strides[0]) + scaled(ky, attrs.dilation[0])
        column = scaled(x, attrs.strides[1]) + scaled(kx, attrs.dilation[1])
        pixel = cast(Load(rows, (n, row, column * channels + c)), acc.dtype)
        weight = cast(d.load(1, Imm(0), ky, kx, filter_index), acc.dtype)
        if attrs.weight_zero_point:
            weight = weight - attrs.weight_zero_point
        return total + pixel * weight

    bias: Expr | None = None
    if len(d.buffers) == 3:
        bias = cast(Load(d.buffers[2].view(filters), (filter_index,)), d.output.dtype)
    body, total = weighted_sum(acc, bias, (("ky", kh), ("kx", kw)), update)
    body += d.store((n, y, x, filter_index), cast(total, d.output.dtype))
    if multiplier > 1:
        body = grid(("m",), (multiplier,), body)
    return stage + grid(("n", "y", "x", "c"), (batch, out_rows, out_columns, channels), body)


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    attrs: Conv2dAttrs = node.attrs  # type: ignore[assignment]
    hybrid = hybrid_weights(b, node)
    if hybrid is not None:
        return legalize_hybrid(b, node, hybrid, {}, symmetric=False)
    if b.quantization(node.outputs[0]) is None:
        return finish_float(b, node)
    plain = plain_operands(b, node, filter_axis=3, int32_bias=attrs.int32_bias, widen=True)
    plain = with_narrow_sum(b, plain, 3)
    attrs = replace(attrs, activation="none", int32_bias=False, **plain.attrs)

    def emit_sum(operands: PlainOperands) -> str:
        return b.emit("depthwise_conv2d", operands.inputs, attrs, node.name)

    return (rescaled_sum(b, node, emit_sum, plain, 3),)


def _macs(inputs: Types, outputs: Types) -> int:
    _, kh, kw, _ = inputs[1].shape
    return outputs[0].elements * kh * kw


def _ranges(operands: Operands, result: TensorType, attrs: Conv2dAttrs) -> Interval | None:
    x, weight = operands[:2]
    if weight.data is None or x.type.dtype.is_float:
        return None
    inside = x.interval.with_value(attrs.input_zero_point) if any(attrs.padding) else x.interval
    channels, filters = x.type.shape[3], result.shape[3]
    inside = inside.over(channels)
    repeats = filters // channels
    repeated = Interval(np.repeat(inside.low, repeats), np.repeat(inside.high, repeats))
    data = weight.data.astype(np.int64) - attrs.weight_zero_point
    weights = data.reshape(1, -1, filters).transpose(2, 0, 1)[..., None]
    bias = operands[2] if len(operands) == 3 else None
    return sum_range(repeated, weights, bias, result.dtype)


def _channels(inputs: Types, result: TensorType, attrs: Conv2dAttrs) -> Channels:
    """An input channel goes with all its filters."""
    channels, filters = inputs[0].shape[3], result.shape[3]
    labels = np.repeat(np.arange(channels), filters // channels)
    return Channels((np.arange(channels), labels, *(labels for _ in inputs[2:])), labels)


OP = Op(
    "depthwise_conv2d",
    Conv2dAttrs,
    _infer,
    check_weighted_sum,
    reference=_reference,
    define=_define,
    legalize=_legalize,
    macs=_macs,
    operands=("x", "weight", "bias"),
    ranges=_ranges,
    channels=_channels,
)
