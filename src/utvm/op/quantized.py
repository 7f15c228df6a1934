"""Legalization steps that quantized operators share: operands made plain, results requantized.

A quantized weighted sum is ``sum((x - zx) * (w - zw)) + bias``. With constant weights the part
``-zx * sum(w - zw)`` is known and goes into the bias, so that the loop multiplies raw inputs;
padding then holds ``zx``. Multipliers come out per channel, or as one when all channels agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Node, Quantization, Value
from utvm.op.builder import GraphBuilder
from utvm.op.cast import CastAttrs
from utvm.op.clip import ClipAttrs
from utvm.op.elementwise import FLOAT_RANGE
from utvm.op.fixed_point import Int64Array, quantize_multiplier
from utvm.op.quantize_conv import CONV_TYPES, ConvParams, conv_params, conv_rescale
from utvm.op.quantize_params import Activation, Quant, require_dtypes
from utvm.op.quantized_linear import Rescale, accumulator_range, emit_wide_linear, find_linear
from utvm.op.requantize import RequantizeAttrs
from utvm.support.errors import ModelError, UnsupportedError

_BIAS_TYPES = frozenset({(DType.INT32,), (DType.INT64,)})


@dataclass(frozen=True)
class PlainOperands:
    """Operands of the plain operator, and the attributes they call for."""

    inputs: tuple[str, ...]
    attrs: dict[str, Any]


def quant_of(value: Value) -> Quant:
    """The per-tensor quantization of a value; ModelError where it has none."""
    where = f"%{value.name}"
    if value.quantization is None:
        raise ModelError("the operand or result needs a quantization", where=where)
    if value.quantization.axis is not None:
        raise UnsupportedError("per-channel quantization is not supported here", where=where)
    return Quant(value.quantization.scale, value.quantization.zero_point, value.dtype)


def weight_quantization(b: GraphBuilder, name: str, filter_axis: int) -> Quantization:
    """How the weights of a quantized layer are quantized: one scale, or one per filter."""
    found = b.quantization(name)
    if found is None:
        raise ModelError("the weights need a quantization", where=f"%{name}")
    if found.axis not in (None, filter_axis):
        raise UnsupportedError(
            "the weights are quantized along another axis",
            where=f"%{name}",
            expected=str(filter_axis),
            found=str(found.axis),
        )
    if len(set(found.zero_points)) > 1:
        raise UnsupportedError("the weights have several zero points", where=f"%{name}")
    return found


def require_layer_types(b: GraphBuilder, node: Node) -> None:
    """Refuses what the reference kernels of weighted sums do not take."""
    types = [b.type_of(name).dtype for name in (*node.inputs[:2], node.outputs[0])]
    require_dtypes(node.op, tuple(types), CONV_TYPES)
    if len(node.inputs) == 3:
        bias = b.type_of(node.inputs[2]).dtype
        require_dtypes(f"the bias of {node.op}", (bias,), _BIAS_TYPES)


def finish_float(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    """A float node with its fused activation as a separate ``clip``; None if it has none."""
    attrs: Any = node.attrs
    if attrs.activation == "none":
        return None
    result = b.emit(node.op, node.inputs, replace(attrs, activation="none"), node.name)
    low, high = FLOAT_RANGE[attrs.activation]
    return (b.emit("clip", [result], ClipAttrs(low, high), node.name),)


def plain_operands(
    b: GraphBuilder,
    node: Node,
    filter_axis: int,
    int32_bias: bool | None = None,
    widen: bool = False,
) -> PlainOperands:
    """Operands of a weighted sum with the input's zero point folded into the bias.

    Constant weights lose their zero point where what is left fits int8, or int16 if ``widen``
    allows weights of twice the size; elsewhere the loop subtracts it.

    The bias always exists afterwards. Weights that are not constant are widened to int16
    differences, as is then the input, since nothing can be folded. int16 activations accumulate in
    int64 unless ``int32_bias`` says otherwise; without it the bias tensor's type decides.
    """
    require_layer_types(b, node)
    x, weight = node.inputs[:2]
    bias = node.inputs[2] if len(node.inputs) == 3 else None
    x_zero = quant_of(b.value(x)).zero_point
    w_zero = weight_quantization(b, weight, filter_axis).zero_point
    filters = b.type_of(weight).shape[filter_axis]
    if int32_bias is None:
        int32_bias = bias is not None and b.type_of(bias).dtype is not DType.INT64
    wide = b.type_of(x).dtype is DType.INT16 and not int32_bias
    accumulator = DType.INT64 if wide else DType.INT32
    data = b.constant_of(weight)
    offset = np.zeros(filters, np.int64)
    if data is not None:
        axes = tuple(i for i in range(data.ndim) if i != filter_axis)
        difference = data.astype(np.int64) - w_zero
        offset = -x_zero * difference.sum(axis=axes)
        narrow = _narrowed(difference, widen) if w_zero else None
        if narrow is not None:
            weight, w_zero = b.constant(narrow, "weight"), 0
    elif x_zero or w_zero:
        x, weight = centered(b, x, x_zero), centered(b, weight, w_zero)
        x_zero = w_zero = 0
    return PlainOperands(
        (x, weight, _folded_bias(b, bias, offset, accumulator)),
        {
            "input_zero_point": x_zero,
            "weight_zero_point": w_zero,
            "accumulator": accumulator.value,
        },
    )


def with_narrow_sum(b: GraphBuilder, plain: PlainOperands, filter_axis: int) -> PlainOperands:
    """The same with an accumulator of int32 in place of int64, where no sum can leave it."""
    if plain.attrs["accumulator"] != DType.INT64.value:
        return plain
    acc_range = weighted_range(b, plain, filter_axis)
    limits = DType.INT32.minimum, DType.INT32.maximum
    if acc_range is None or acc_range[0].min() < limits[0] or acc_range[1].max() > limits[1]:
        return plain
    x, weight, bias = plain.inputs
    data = b.constant_of(bias)
    assert data is not None
    if np.abs(data).max(initial=0) > limits[1]:
        return plain
    narrow = b.constant(data.astype(np.int32), "bias")
    return PlainOperands((x, weight, narrow), {**plain.attrs, "accumulator": DType.INT32.value})


def _conv_params(b: GraphBuilder, node: Node, filter_axis: int) -> ConvParams:
    """The rescaling that the node's quantizations ask for."""
    attrs: Any = node.attrs
    weight = weight_quantization(b, node.inputs[1], filter_axis)
    return conv_params(
        quant_of(b.value(node.inputs[0])),
        weight.scales,
        weight.zero_point,
        quant_of(b.value(node.outputs[0])),
        Activation(attrs.activation),
        int32_bias=attrs.int32_bias,
    )


def _narrowed(data: np.ndarray, widen: bool) -> np.ndarray | None:
    """The numbers as int8, or as int16 if ``widen``; None where they do not fit."""
    for dtype in (np.int8, np.int16) if widen else (np.int8,):
        if np.array_equal(data.astype(dtype), data):
            return data.astype(dtype)
    return None


def weighted_range(
    b: GraphBuilder, plain: PlainOperands, filter_axis: int
) -> tuple[Int64Array, Int64Array] | None:
    """The accumulator's range per filter; None if weights or bias are known only at run time."""
    x, weight, bias = plain.inputs
    weights, constant = b.constant_of(weight), b.constant_of(bias)
    if weights is None or constant is None:
        return None
    rows = np.moveaxis(weights, filter_axis, 0).reshape(weights.shape[filter_axis], -1)
    difference = rows.astype(np.int64) - plain.attrs["weight_zero_point"]
    return accumulator_range(difference, constant.astype(np.int64), b.type_of(x).dtype)


def _folded_bias(b: GraphBuilder, bias: str | None, offset: np.ndarray, dtype: DType) -> str:
    data = np.zeros(offset.shape, np.int64) if bias is None else b.constant_of(bias)
    if data is not None:
        return b.constant((data.reshape(-1) + offset).astype(dtype.numpy), "bias")
    assert bias is not None
    if not offset.any():
        return bias
    return b.emit("add", [bias, b.constant(offset.astype(b.type_of(bias).dtype.numpy))])


def centered(b: GraphBuilder, name: str, zero_point: int) -> str:
    """int16 differences to the zero point."""
    wide = b.emit("cast", [name], CastAttrs("int16"))
    return b.emit("sub", [wide, b.constant(np.array([zero_point], np.int16), "zero_point")])


def rescaled_sum(
    b: GraphBuilder,
    node: Node,
    emit_sum: Callable[[PlainOperands], str],
    plain: PlainOperands,
    filter_axis: int,
) -> str:
    """A convolution as its accumulator, brought to the node's declared output type.

    Operands 0 and 1 of the node are the input and the weights, whatever kind of convolution it is.
    ``requantize_linear`` where that is exact, else ``requantize``.
    """
    dtype = quant_of(b.value(node.outputs[0])).dtype
    p = _conv_params(b, node, filter_axis)
    narrow_sum = plain.attrs["accumulator"] == DType.INT32.value
    assert p.wide or narrow_sum, node
    acc_range = weighted_range(b, plain, filter_axis)
    if p.wide and narrow_sum:
        assert acc_range is not None, node
        total = emit_sum(plain)
        rescaled = emit_wide_linear(b, total, p, acc_range)
        if rescaled is not None:
            return rescaled
        wide = b.emit("cast", [total], CastAttrs("int64"))
        return requantize_pairs(b, wide, *_pairs(p, dtype))
    if acc_range is not None and not p.wide:
        without, function = _without_idle(b, plain, acc_range, p)
        scales = tuple(math.ldexp(m, s - 31) for m, s in zip(p.multipliers, p.shifts, strict=True))
        rescale = Rescale(function, scales, p.zero_point, p.qmin, p.qmax, dtype)
        idle = acc_range[0] == acc_range[1]
        busy = tuple(np.where(idle, 0, bound) for bound in acc_range)
        linear = find_linear(rescale, (busy[0], busy[1]), by_sign=False)
        if linear is not None:
            return linear.emit(b, emit_sum(without))
    return requantize_pairs(b, emit_sum(plain), *_pairs(p, dtype))


def _pairs(p: ConvParams, dtype: DType) -> tuple[list[tuple[int, int]], RequantizeAttrs]:
    """The rescaling as ``requantize`` takes it."""
    pairs = list(zip(p.multipliers, p.shifts, strict=True))
    return pairs, RequantizeAttrs(dtype.value, p.qmin, p.qmax, output_zero_point=p.zero_point)


def _without_idle(
    b: GraphBuilder, plain: PlainOperands, acc_range: tuple[Int64Array, Int64Array], p: ConvParams
) -> tuple[PlainOperands, Callable[[Int64Array], Int64Array]]:
    """The operands with a bias of 0 for filters of zeros, and the rescaling that makes up for it.

    Such filters often have biases that no other accumulator comes near.
    """
    low, high = acc_range
    idle = low == high
    results = conv_rescale(low, p)

    def function(acc: Int64Array) -> Int64Array:
        return np.where(idle, results, conv_rescale(np.where(idle, 0, acc), p))

    x, weight, bias = plain.inputs
    biases = b.constant_of(bias)
    assert biases is not None
    if not biases.reshape(-1)[idle].any():
        return plain, function
    small = np.where(idle, 0, biases.reshape(-1)).astype(biases.dtype)
    return replace(plain, inputs=(x, weight, b.constant(small, "bias"))), function


def requantize(
    b: GraphBuilder,
    x: str,
    reals: list[float],
    zero_point: int,
    low: int,
    high: int,
    dtype: DType,
    *,
    input_zero_point: int = 0,
    left_shift: int = 0,
) -> str:
    """Emits ``requantize`` with the fixed-point form of ``reals`` (one, or one per channel)."""
    pairs = [quantize_multiplier(real) for real in reals]
    return requantize_pairs(
        b,
        x,
        pairs,
        RequantizeAttrs(dtype.value, low, high, input_zero_point, left_shift, zero_point),
    )


def requantize_pairs(
    b: GraphBuilder, x: str, pairs: list[tuple[int, int]], attrs: RequantizeAttrs
) -> str:
    """Emits ``requantize`` with given (multiplier, shift) pairs."""
    if len(set(pairs)) == 1:
        pairs = pairs[:1]
    right = b.type_of(x).dtype is not DType.INT64 and all(-31 <= s <= -1 for _, s in pairs)
    shifts = np.array([-s if right else s for _, s in pairs], np.int32)
    multiplier = b.constant(np.array([m for m, _ in pairs], np.int32), "multiplier")
    shift = b.constant(shifts, "shift")
    return b.emit("requantize", [x, multiplier, shift], replace(attrs, right=right))
