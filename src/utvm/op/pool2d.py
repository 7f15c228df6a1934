"""``max_pool2d``, ``avg_pool2d``: the largest element, or the average, under a sliding window.

Tensors are NHWC. What hangs over the border counts nowhere: max_pool2d pads with the type's
minimum, avg_pool2d divides by the number of elements inside the image. Ceil mode is padding below
and to the right. Integer averages round as ``rounding`` says. Pools never rescale: a quantized node
becomes the plain one and a ``clip`` for its activation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import Buffer, Expr, Imm, Load, Stmt, Var, maximum
from utvm.op.average import average
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.channels import same_channels
from utvm.op.clip import ClipAttrs
from utvm.op.definition import Definition, cast, grid, reduction, register
from utvm.op.elementwise import expect_activation
from utvm.op.quantize_params import Activation, activation_range
from utvm.op.quantized import finish_float, quant_of
from utvm.op.ranges import same_range
from utvm.op.window import output_size, padded_rows, padding_value, scaled, window_view

ROUNDINGS = ("half_away", "truncate")
NO_DILATION = (1, 1)


@dataclass(frozen=True)
class MaxPool2dAttrs(Attrs):
    """``window``: rows and columns. ``padding``: rows above, below, columns left, right.

    ``activation`` exists only before legalization.
    """

    window: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    activation: str = "none"


@dataclass(frozen=True)
class AvgPool2dAttrs(MaxPool2dAttrs):
    """``rounding`` of integer averages: ``half_away`` (TFLite) or ``truncate`` (CMSIS-NN's q7)."""

    rounding: str = "half_away"


def _infer(inputs: Types, attrs: MaxPool2dAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    expect_activation(attrs.activation)
    x = inputs[0]
    expect(x.dtype.is_float or x.dtype.is_integer, "truth values are not pooled", "numbers", x)
    size = output_size(x.shape, attrs.window, attrs.strides, NO_DILATION, attrs.padding)
    sides = zip(attrs.padding, np.repeat(attrs.window, 2), strict=True)
    expect(all(pad < extent for pad, extent in sides), "a window lies outside of the image",
           "less padding than window", attrs.padding)  # fmt: skip
    return (TensorType((x.shape[0], *size, x.shape[3]), x.dtype),)


def _infer_avg(inputs: Types, attrs: AvgPool2dAttrs) -> tuple[TensorType, ...]:
    expect(attrs.rounding in ROUNDINGS, "unknown rounding", " or ".join(ROUNDINGS), attrs.rounding)
    return _infer(inputs, attrs)


def _reference_max(inputs: Arrays, attrs: MaxPool2dAttrs) -> tuple[np.ndarray, ...]:
    return (_windows(inputs[0], attrs, _lowest(DType(inputs[0].dtype.name))).max(axis=(3, 4)),)


def _windows(x: np.ndarray, attrs: MaxPool2dAttrs, value: float) -> np.ndarray:
    return window_view(x, attrs.window, attrs.strides, NO_DILATION, attrs.padding, value)


def _lowest(dtype: DType) -> float | int:
    return -np.inf if dtype.is_float else dtype.minimum


def _reference_avg(inputs: Arrays, attrs: AvgPool2dAttrs) -> tuple[np.ndarray, ...]:
    x = inputs[0]
    counts = _windows(np.ones((1, *x.shape[1:3], 1), np.int64), attrs, 0).sum(axis=(3, 4))
    if x.dtype.kind == "f":
        total = _windows(x, attrs, 0).sum(axis=(3, 4), dtype=np.float32)
        return ((total / counts.astype(np.float32)).astype(np.float32),)
    total = _windows(x, attrs, 0).sum(axis=(3, 4), dtype=np.int64)
    half = counts // 2 if attrs.rounding == "half_away" else 0
    return ((np.sign(total) * ((np.abs(total) + half) // counts)).astype(x.dtype),)


def _nest(
    d: Definition,
    padding: Imm,
    initial: Imm,
    update: Callable[[Expr, Expr], Expr],
    finish: Callable[[Buffer], tuple[tuple[Stmt, ...], Expr]],
) -> tuple[Stmt, ...]:
    """Loops n, y, x, c around ky and kx, or around r where the window is as wide as the image."""
    attrs: MaxPool2dAttrs = d.attrs
    (kh, kw), (stride_y, stride_x) = attrs.window, attrs.strides
    batch, _, width, channels = d.buffers[0].shape
    _, out_rows, out_columns, _ = d.output.shape
    stage, rows = padded_rows(d, attrs.window, attrs.strides, NO_DILATION, attrs.padding, padding)
    n, y, x, c = Var("n"), Var("y"), Var("x"), Var("c")
    acc = register("acc", initial.dtype)
    taps: tuple[tuple[str, int], ...] = (("ky", kh), ("kx", kw))
    index: tuple[Expr, ...] = (
        n,
        scaled(y, stride_y) + Var("ky"),
        (scaled(x, stride_x) + Var("kx")) * channels + c,
    )
    if kw == width and not stage:
        taps = (("r", kh * kw),)
        rows = rows.view(batch, rows.shape[1] * width * channels)
        index = (n, (scaled(y, stride_y * width) + Var("r")) * channels + c)

    def step(total: Expr) -> Expr:
        return update(total, cast(Load(rows, index), acc.dtype))

    statements, value = finish(acc)
    body = reduction(acc, initial, taps, step) + statements
    body += d.store((n, y, x, c), cast(value, d.output.dtype))
    return stage + grid(("n", "y", "x", "c"), (batch, out_rows, out_columns, channels), body)


def _accumulator(dtype: DType) -> DType:
    return DType.INT32 if dtype.is_integer and dtype.bits < 32 else dtype


def _define_max(d: Definition) -> tuple[Stmt, ...]:
    dtype = d.output.dtype
    low = Imm(_lowest(dtype), dtype)
    initial = Imm(low.value, _accumulator(dtype))
    return _nest(d, low, initial, maximum, lambda acc: ((), Load(acc)))


def _define_avg(d: Definition) -> tuple[Stmt, ...]:
    attrs: AvgPool2dAttrs = d.attrs
    dtype = d.output.dtype
    inside = _inside(d)

    def finish(acc: Buffer) -> tuple[tuple[Stmt, ...], Expr]:
        return average(d, Load(acc), inside, attrs.rounding)

    zero, initial = padding_value(dtype, 0), padding_value(_accumulator(dtype), 0)
    return _nest(d, zero, initial, lambda total, x: total + x, finish)


def _inside(d: Definition) -> tuple[np.ndarray, np.ndarray]:
    """How much of the window lies inside the image, by result row and by result column."""
    attrs: AvgPool2dAttrs = d.attrs
    counts = []
    for axis in (0, 1):
        begin = np.arange(d.output.shape[1 + axis]) * attrs.strides[axis] - attrs.padding[2 * axis]
        end = np.minimum(begin + attrs.window[axis], d.buffers[0].shape[1 + axis])
        counts.append(end - np.maximum(begin, 0))
    return counts[0], counts[1]


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    quantization = b.quantization(node.outputs[0])
    attrs: MaxPool2dAttrs = node.attrs  # type: ignore[assignment]
    if quantization is None:
        return finish_float(b, node)
    if attrs.activation == "none":
        return None
    result = b.emit(node.op, node.inputs, replace(attrs, activation="none"), node.name)
    out = quant_of(b.value(node.outputs[0]))
    low, high = activation_range(Activation(attrs.activation), out)
    if (low, high) == (out.qmin, out.qmax):
        return (result,)
    return (b.emit("clip", [result], ClipAttrs(low, high), node.name),)


MAX_POOL2D = Op(
    "max_pool2d",
    MaxPool2dAttrs,
    _infer,
    reference=_reference_max,
    define=_define_max,
    legalize=_legalize,
    operands=("x",),
    ranges=same_range,
    channels=same_channels,
)
AVG_POOL2D = Op(
    "avg_pool2d",
    AvgPool2dAttrs,
    _infer_avg,
    reference=_reference_avg,
    define=_define_avg,
    legalize=_legalize,
    operands=("x",),
    ranges=same_range,
    channels=same_channels,
)
