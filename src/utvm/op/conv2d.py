"""``conv2d``: two-dimensional convolution, NHWC input, OHWI weights, optional groups.

Plain form: integers accumulate into ``accumulator`` (int32, or int64 behind int16 activations),
floats into float32; out-of-image taps read ``input_zero_point`` (0 for floats). In a quantized node
the attributes hold the fused activation; ``legalize`` folds the input's zero point into the bias
and emits ``requantize`` behind. Weight zero points other than 0 exist only in legacy uint8 models
and stay in the loop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import Buffer, Expr, Load, Stmt, Var
from utvm.op.base import Arrays, Constants, Op, Types, expect, expect_inputs, expect_range
from utvm.op.builder import GraphBuilder
from utvm.op.channels import weighted_channels
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


@dataclass(frozen=True)
class Conv2dAttrs(Attrs):
    """``padding``: rows above, below, columns left, right. ``accumulator``: the integer result
    type.

    ``input_zero_point`` is what padding holds; ``weight_zero_point`` is subtracted from every
    weight. ``activation`` and ``int32_bias`` exist only before legalization; the latter says that
    int16 activations accumulate in 32 bits (TFLite's ``quantized_bias_type``).
    """

    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    activation: str = "none"
    input_zero_point: int = 0
    weight_zero_point: int = 0
    accumulator: str = "int32"
    int32_bias: bool = False


ACCUMULATORS = ("int32", "int64")


def accumulator_type(x: TensorType, attrs_accumulator: str) -> DType:
    """float32 for floats, else the type that the attributes name."""
    expect(attrs_accumulator in ACCUMULATORS, "unknown accumulator", " or ".join(ACCUMULATORS),
           attrs_accumulator)  # fmt: skip
    return DType.FLOAT32 if x.dtype.is_float else DType(attrs_accumulator)


def check_weighted_sum(inputs: Types, data: Constants, attrs: Any) -> None:
    """For plain convolutions and dense layers: floats, or integers with zero points in range."""
    x, weight = inputs[:2]
    for operand in (x, weight):
        dtype = operand.dtype
        summed = dtype.is_float or (dtype.is_integer and dtype.bits <= 16) or dtype is DType.INT32
        expect(summed, "wrong element type", "float32 or integers of up to 32 bits", operand)
    expect(x.dtype.is_float == weight.dtype.is_float, "floats and integers are not multiplied",
           str(x), weight)  # fmt: skip
    if len(inputs) == 3:
        fits = inputs[2].dtype.is_float == x.dtype.is_float and inputs[2].dtype is not DType.BOOL
        expect(fits, "the bias has another kind of numbers", found=inputs[2])
    pairs = ((x, getattr(attrs, "input_zero_point", 0)), (weight, attrs.weight_zero_point))
    for operand, zero_point in pairs:
        dtype = operand.dtype
        low, high = (0, 0) if dtype.is_float else (dtype.minimum, dtype.maximum)
        expect_range("a zero point", zero_point, low, high)


def _infer(inputs: Types, attrs: Conv2dAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 2, 3)
    expect_activation(attrs.activation)
    x, weight = inputs[:2]
    expect(len(x.shape) == 4 and len(weight.shape) == 4, "conv2d takes NHWC and OHWI", "rank 4",
           f"{x}, {weight}")  # fmt: skip
    filters, kh, kw, depth = weight.shape
    expect(depth > 0 and x.shape[3] % depth == 0, "input channels do not fit the weights",
           f"a multiple of {depth}", x.shape[3])  # fmt: skip
    groups = x.shape[3] // depth
    expect(filters % groups == 0, "filters do not fit the groups", f"multiple of {groups}", filters)
    if len(inputs) == 3:
        expect(inputs[2].elements == filters, "one bias per filter", str(filters), inputs[2])
    size = output_size(x.shape, (kh, kw), attrs.strides, attrs.dilation, attrs.padding)
    return (TensorType((x.shape[0], *size, filters), accumulator_type(x, attrs.accumulator)),)


def _reference(inputs: Arrays, attrs: Conv2dAttrs) -> tuple[np.ndarray, ...]:
    x, weight = inputs[:2]
    filters, kh, kw, depth = weight.shape
    wide: type[Any] = np.float32 if x.dtype.kind == "f" else np.int64
    windows = window_view(
        x, (kh, kw), attrs.strides, attrs.dilation, attrs.padding, attrs.input_zero_point
    ).astype(wide)
    weights = weight.astype(wide) - attrs.weight_zero_point
    groups = x.shape[3] // depth
    share = filters // groups
    parts = [
        np.einsum(
            "nyxhwc,ohwc->nyxo",
            windows[..., g * depth : (g + 1) * depth],
            weights[g * share : (g + 1) * share],
            optimize=True,
        )
        for g in range(groups)
    ]
    result = np.concatenate(parts, axis=-1)
    if len(inputs) == 3:
        result = result + inputs[2].reshape(-1).astype(wide)
    dtype = np.float32 if x.dtype.kind == "f" else DType(attrs.accumulator).numpy
    return (result.astype(dtype),)


def _define(d: Definition) -> tuple[Stmt, ...]:
    """Loops n, y, x, c (g, c with groups) around the taps ky and r, where r runs over kx and the
    input channels.
    """
    attrs: Conv2dAttrs = d.attrs
    n, _, _, channels = d.buffers[0].shape
    filters, kh, kw, depth = d.buffers[1].shape
    _, out_rows, out_columns, _ = d.output.shape
    zero = padding_value(d.buffers[0].dtype, attrs.input_zero_point)
    stage, rows = padded_rows(d, (kh, kw), attrs.strides, attrs.dilation, attrs.padding, zero)
    merge = d.flattenable and not stage and (kh, kw) == (1, 1) and attrs.strides == (1, 1)
    if merge:
        n, out_rows, out_columns = 1, 1, n * out_rows * out_columns
        rows = rows.view(1, 1, out_columns * channels)
    groups = channels // depth
    share = filters // groups
    b, y, x, g, c = Var("n"), Var("y"), Var("x"), Var("g"), Var("c")
    filter_index: Expr = g * share + c if groups > 1 else c
    taps = _taps(d, groups, depth, kh, kw, attrs.dilation[1])
    rows_of_weights = None if d.constants[1] is None else d.constants[1].reshape(filters, -1)
    acc = register("acc", sum_type(d.output.dtype, d.buffers[0].dtype, rows_of_weights))

    def update(total: Expr) -> Expr:
        ky = Var("ky")
        column = scaled(x, attrs.strides[1] * channels) + taps.offset
        if groups > 1:
            column = column + g * depth
        row = scaled(y, attrs.strides[0]) + scaled(ky, attrs.dilation[0])
        pixel = cast(Load(rows, (b, row, column)), acc.dtype)
        weight = cast(Load(taps.weight, (filter_index, ky, *taps.index)), acc.dtype)
        if attrs.weight_zero_point:
            weight = weight - attrs.weight_zero_point
        return total + pixel * weight

    bias: Expr | None = None
    if len(d.buffers) == 3:
        bias = cast(Load(d.buffers[2].view(filters), (filter_index,)), d.output.dtype)
    body, total = weighted_sum(acc, bias, (("ky", kh), *taps.loops), update)
    shape = (n, out_rows, out_columns, filters)
    body += d.store((b, y, x, filter_index), cast(total, d.output.dtype), shape=shape)
    inner = (
        grid(("g", "c"), (groups, share), body) if groups > 1 else grid(("c",), (filters,), body)
    )
    return stage + grid(("n", "y", "x"), (n, out_rows, out_columns), inner)


@dataclass(frozen=True)
class _Taps:
    """How the taps of one window row are walked: loops, offset in the row, index in the weights."""

    loops: tuple[tuple[str, int], ...]
    offset: Expr
    weight: Buffer
    index: tuple[Expr, ...]


def _taps(d: Definition, groups: int, depth: int, kh: int, kw: int, dilation: int) -> _Taps:
    """One loop ``r`` over kx and channels where they are contiguous, else ``kx`` and ``i``."""
    weight = d.buffers[1]
    filters, channels = weight.shape[0], groups * depth
    r, kx, i = Var("r"), Var("kx"), Var("i")
    if kw == 1 or (dilation == 1 and groups == 1):
        flat = weight.view(filters, kh, kw * depth)
        return _Taps((("r", kw * depth),), r, flat, (r,))
    offset = scaled(kx, dilation * channels) + i
    return _Taps((("kx", kw), ("i", depth)), offset, weight, (kx, i))


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    attrs: Conv2dAttrs = node.attrs  # type: ignore[assignment]
    x, weight = node.inputs[:2]
    hybrid = hybrid_weights(b, node)
    if hybrid is not None:
        one_group = b.type_of(x).shape[3] == b.type_of(weight).shape[3]
        symmetric = one_group and len(set(hybrid.scales)) == 1
        return legalize_hybrid(
            b, node, hybrid, {}, symmetric=symmetric, weight_scale_first=not symmetric
        )
    if b.quantization(node.outputs[0]) is None:
        return finish_float(b, node)
    plain = plain_operands(b, node, filter_axis=0, int32_bias=attrs.int32_bias)
    plain = with_narrow_sum(b, plain, 0)
    attrs = replace(attrs, activation="none", int32_bias=False, **plain.attrs)

    def emit_sum(operands: PlainOperands) -> str:
        return b.emit("conv2d", operands.inputs, attrs, node.name)

    return (rescaled_sum(b, node, emit_sum, plain, 0),)


def _macs(inputs: Types, outputs: Types) -> int:
    _, kh, kw, depth = inputs[1].shape
    return outputs[0].elements * kh * kw * depth


def _ranges(operands: Operands, result: TensorType, attrs: Conv2dAttrs) -> Interval | None:
    x, weight = operands[:2]
    if weight.data is None or x.type.dtype.is_float:
        return None
    inside = x.interval.with_value(attrs.input_zero_point) if any(attrs.padding) else x.interval
    channels = x.type.shape[3]
    filters, _, _, depth = weight.type.shape
    groups = channels // depth
    data = weight.data.astype(np.int64) - attrs.weight_zero_point
    weights = data.reshape(groups, filters // groups, -1, depth)
    bias = operands[2] if len(operands) == 3 else None
    return sum_range(inside.over(channels), weights, bias, result.dtype)


OP = Op(
    "conv2d",
    Conv2dAttrs,
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
