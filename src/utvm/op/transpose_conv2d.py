"""``transpose_conv2d``: the transposed (fractionally strided) convolution; NHWC input, weights
OHWI.

    out[y*s - padding + ky] += in[y] * weight[ky]

Operands: x, weight, bias (optional). It is composite: ``legalize`` sorts the constant weights by
output phase and emits ``transpose_conv2d_phases``, with ``requantize`` or the float activation
behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.graph import Attrs, Node, TensorType
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.clip import ClipAttrs
from utvm.op.elementwise import FLOAT_RANGE, expect_activation
from utvm.op.quantized import PlainOperands, plain_operands, rescaled_sum, with_narrow_sum
from utvm.op.transpose_conv2d_phases import (
    TransposeConv2dPhasesAttrs,
    expect_geometry,
    phase_taps,
    phases,
)
from utvm.op.window import Pair
from utvm.support.errors import UnsupportedError


@dataclass(frozen=True)
class TransposeConv2dAttrs(Attrs):
    """``padding``: rows above and columns on the left that are cut off. ``size``: rows and columns
    of the result, which holds only the bias where nothing reaches it. ``int32_bias`` as for conv2d.
    """

    strides: Pair
    padding: Pair
    size: Pair
    activation: str = "none"
    int32_bias: bool = False


def _infer(inputs: Types, attrs: TransposeConv2dAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 2, 3)
    x, weight = inputs[:2]
    expect(len(x.shape) == 4 and len(weight.shape) == 4, "transpose_conv2d takes NHWC and OHWI",
           "rank 4", f"{x}, {weight}")  # fmt: skip
    expect(x.shape[3] == weight.shape[3], "depths differ", str(weight.shape[3]), x.shape[3])
    expect_activation(attrs.activation)
    window = (weight.shape[1], weight.shape[2])
    expect_geometry(x, TransposeConv2dPhasesAttrs(window, attrs.strides, attrs.padding, attrs.size))
    if len(inputs) == 3:
        expect(inputs[2].elements == weight.shape[0], "one bias per filter", str(weight.shape[0]),
               inputs[2])  # fmt: skip
    return (TensorType((x.shape[0], *attrs.size, weight.shape[0]), x.dtype),)


def _reference(inputs: Arrays, attrs: TransposeConv2dAttrs) -> tuple[np.ndarray, ...]:
    """Every input scatters its taps; for floats without activation."""
    x, weight = inputs[:2]
    _, height, width, _ = x.shape
    filters, kh, kw, _ = weight.shape
    (sy, sx), (top, left), (rows, columns) = attrs.strides, attrs.padding, attrs.size
    reach = ((height - 1) * sy + kh, (width - 1) * sx + kw)
    extent = (max(reach[0], top + rows), max(reach[1], left + columns))
    full = np.zeros((x.shape[0], *extent, filters), x.dtype)
    for ky in range(kh):
        for kx in range(kw):
            hit = full[:, ky : ky + height * sy : sy, kx : kx + width * sx : sx]
            hit += x @ weight[:, ky, kx].T
    result = full[:, top : top + rows, left : left + columns]
    return (result + inputs[2] if len(inputs) == 3 else result,)


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    attrs: TransposeConv2dAttrs = node.attrs  # type: ignore[assignment]
    x, weight = node.inputs[:2]
    bias = node.inputs[2] if len(node.inputs) == 3 else None
    data = b.constant_of(weight)
    if data is None:
        raise UnsupportedError("the weights are computed at run time", expected="a constant")
    window = (data.shape[1], data.shape[2])
    plain_attrs = TransposeConv2dPhasesAttrs(window, attrs.strides, attrs.padding, attrs.size)
    if b.quantization(node.outputs[0]) is None:
        zeros = np.zeros(data.shape[0], data.dtype)
        bias = b.constant(zeros, "bias") if bias is None else bias
        total = b.emit(_PHASES, [x, _sorted_weights(b, data, plain_attrs), bias], plain_attrs)
        if attrs.activation == "none":
            return (total,)
        return (b.emit("clip", [total], ClipAttrs(*FLOAT_RANGE[attrs.activation]), node.name),)
    plain = plain_operands(b, node, filter_axis=0, int32_bias=attrs.int32_bias)
    plain = with_narrow_sum(b, plain, 0)
    data = b.constant_of(plain.inputs[1])
    assert data is not None
    plain_attrs = replace(plain_attrs, **plain.attrs)

    def emit_sum(plain: PlainOperands) -> str:
        operands = [
            plain.inputs[0],
            _sorted_weights(b, data, plain_attrs),
            _phase_biases(b, plain, data, plain_attrs),
        ]
        return b.emit(_PHASES, operands, plain_attrs, node.name)

    return (rescaled_sum(b, node, emit_sum, plain, filter_axis=0),)


_PHASES = "transpose_conv2d_phases"


def _blocks(data: np.ndarray, attrs: TransposeConv2dPhasesAttrs) -> list[np.ndarray]:
    """The taps of every pair of phases."""
    rows, columns = (
        [phase_taps(phase, axis[1]) for phase in phases(*axis)]
        for axis in zip(attrs.window, attrs.strides, attrs.padding, attrs.size, strict=True)
    )
    return [data[:, row][:, :, column] for row in rows for column in columns]


def _sorted_weights(b: GraphBuilder, data: np.ndarray, attrs: TransposeConv2dPhasesAttrs) -> str:
    blocks = [block.reshape(-1) for block in _blocks(data, attrs)]
    return b.constant(np.concatenate(blocks), "weight")


def _phase_biases(
    b: GraphBuilder, plain: PlainOperands, data: np.ndarray, attrs: TransposeConv2dPhasesAttrs
) -> str:
    """The bias with the input's zero point folded in for the taps of each phase only.

    ``plain`` has folded it for all taps, which is taken back for those that a phase does not have.
    """
    whole = b.constant_of(plain.inputs[2])
    if attrs.input_zero_point == 0:
        return plain.inputs[2]
    if whole is None:
        raise UnsupportedError("the bias is computed at run time", expected="a constant")
    centered = data.astype(np.int64) - attrs.weight_zero_point
    total = centered.sum(axis=(1, 2, 3))
    biases = [
        whole + attrs.input_zero_point * (total - block.sum(axis=(1, 2, 3)))
        for block in _blocks(centered, attrs)
    ]
    return b.constant(np.concatenate(biases).astype(whole.dtype), "bias")


OP = Op(
    "transpose_conv2d",
    TransposeConv2dAttrs,
    _infer,
    reference=_reference,
    legalize=_legalize,
    operands=("x", "weight", "bias"),
)
