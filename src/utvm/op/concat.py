"""``concat``: operands one behind the other along an axis.

Quantized operands must have the result's scale, but for uint8, which TFLite's kernel rescales:
there ``legalize`` puts a table in front. Runs as one copy per operand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import Stmt
from utvm.op.axes import Move, Slice, copy_box
from utvm.op.base import Arrays, Op, Types, expect
from utvm.op.builder import GraphBuilder
from utvm.op.channels import Channels
from utvm.op.definition import Definition
from utvm.op.lut import emit_lut
from utvm.op.quantize_convert import concat_input_table
from utvm.op.quantized import quant_of
from utvm.op.ranges import MOST_CHANNELS, Interval, Operands
from utvm.support.errors import UnsupportedError


@dataclass(frozen=True)
class ConcatAttrs(Attrs):
    """``axis``, counted from the front."""

    axis: int


def _infer(inputs: Types, attrs: ConcatAttrs) -> tuple[TensorType, ...]:
    expect(len(inputs) > 0, "concat needs operands")
    first = inputs[0]
    rank, axis = len(first.shape), attrs.axis
    expect(0 <= axis < rank, "the axis does not exist", f"0 to {rank - 1}", axis)
    for x in inputs:
        expect(x.dtype is first.dtype, "element types differ", first.dtype.value, x.dtype.value)
        others = (*x.shape[:axis], *x.shape[axis + 1 :])
        fits = others == (*first.shape[:axis], *first.shape[axis + 1 :])
        expect(fits and len(x.shape) == rank, "operands differ beside the axis", str(first), x)
    extent = sum(x.shape[axis] for x in inputs)
    shape = (*first.shape[:axis], extent, *first.shape[axis + 1 :])
    return (TensorType(shape, first.dtype),)


def _reference(inputs: Arrays, attrs: ConcatAttrs) -> tuple[np.ndarray, ...]:
    return (np.concatenate(inputs, axis=attrs.axis),)


def _define(d: Definition) -> tuple[Stmt, ...]:
    axis: int = d.attrs.axis
    body: tuple[Stmt, ...] = ()
    offset = 0
    for k, buffer in enumerate(d.buffers):
        moves = [Move(n, Slice(n), Slice(n)) for n in buffer.shape]
        extent = buffer.shape[axis]
        moves[axis] = Move(extent, Slice(extent), Slice(d.output.shape[axis], offset))
        body += copy_box(d, k, moves, f"i{k}_")
        offset += extent
    return body


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    result = node.outputs[0]
    quantization = b.quantization(result)
    different = [
        name
        for name in dict.fromkeys(node.inputs)
        if b.quantization(name) not in (None, quantization)
    ]
    if quantization is None or not different:
        return None
    out = quant_of(b.value(result))
    if out.dtype is not DType.UINT8:
        raise UnsupportedError(
            "the operands of CONCATENATION must be quantized as its result",
            expected=f"scale {out.scale:g}, zero point {out.zero_point}",
            found=str(b.quantization(different[0])),
        )
    tables = {
        name: emit_lut(b, name, concat_input_table(quant_of(b.value(name)), out), out.dtype)
        for name in different
    }
    inputs = [tables.get(name, name) for name in node.inputs]
    return (b.emit("concat", inputs, node.attrs, node.name),)


def _ranges(operands: Operands, result: TensorType, attrs: ConcatAttrs) -> Interval:
    along_channels = attrs.axis == len(result.shape) - 1
    parts = [operand.interval for operand in operands]
    if along_channels and result.shape[-1] <= MOST_CHANNELS:
        wide = [part.over(x.type.shape[-1]) for part, x in zip(parts, operands, strict=True)]
        low, high = [part.low for part in wide], [part.high for part in wide]
        return Interval(np.concatenate(low), np.concatenate(high))
    if along_channels:
        parts = [part.hull for part in parts]
    return reduce(Interval.joined, parts)


def _channels(inputs: Types, result: TensorType, attrs: ConcatAttrs) -> Channels:
    labels = np.arange(result.shape[-1])
    if attrs.axis < len(result.shape) - 1:
        return Channels(tuple(labels for _ in inputs), labels)
    ends = np.cumsum([x.shape[-1] for x in inputs])
    return Channels(tuple(np.split(labels, ends[:-1])), labels)


OP = Op(
    "concat",
    ConcatAttrs,
    _infer,
    reference=_reference,
    define=_define,
    legalize=_legalize,
    ranges=_ranges,
    channels=_channels,
)
