"""``strided_slice``: elements begin, begin + stride, ... along every axis; strides may be negative.

The importers bring SLICE, SPLIT, UNPACK and every mask of STRIDED_SLICE to this form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import Stmt
from utvm.op.axes import Move, Slice, copy_box
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs, expect_range
from utvm.op.channels import Channels, same_channels
from utvm.op.definition import Definition
from utvm.op.ranges import Interval, Operands


@dataclass(frozen=True)
class StridedSliceAttrs(Attrs):
    """One entry per axis: the first position, the step (not 0), and how many elements."""

    begin: tuple[int, ...]
    strides: tuple[int, ...]
    shape: tuple[int, ...]


def _infer(inputs: Types, attrs: StridedSliceAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    x = inputs[0]
    ranks = {len(attrs.begin), len(attrs.strides), len(attrs.shape)}
    expect(ranks == {len(x.shape)}, "one entry per axis", str(len(x.shape)), sorted(ranks))
    for size, begin, stride, count in zip(
        x.shape, attrs.begin, attrs.strides, attrs.shape, strict=True
    ):
        expect(stride != 0, "a stride is not 0")
        expect_range("a stride", stride, -(1 << 31), (1 << 31) - 1)
        last = begin + (count - 1) * stride
        inside = count > 0 and 0 <= begin < size and 0 <= last < size
        expect(inside, "the slice leaves the tensor or is empty", f"0 to {size - 1}",
               f"{count} from {begin} by {stride}")  # fmt: skip
    return (TensorType(tuple(attrs.shape), x.dtype),)


def _reference(inputs: Arrays, attrs: StridedSliceAttrs) -> tuple[np.ndarray, ...]:
    result = inputs[0]
    for axis, (begin, stride, count) in enumerate(
        zip(attrs.begin, attrs.strides, attrs.shape, strict=True)
    ):
        result = result.take(begin + stride * np.arange(count), axis=axis)
    return (result,)


def _define(d: Definition) -> tuple[Stmt, ...]:
    attrs: StridedSliceAttrs = d.attrs
    moves = [
        Move(count, Slice(size, begin, 1 if count == 1 else stride), Slice(count))
        for size, begin, stride, count in zip(
            d.buffers[0].shape, attrs.begin, attrs.strides, attrs.shape, strict=True
        )
    ]
    return copy_box(d, 0, moves, "i")


def _ranges(operands: Operands, result: TensorType, attrs: StridedSliceAttrs) -> Interval:
    x = operands[0].interval
    if len(x.low) == 1:
        return x
    chosen = attrs.begin[-1] + attrs.strides[-1] * np.arange(attrs.shape[-1])
    return Interval(x.low[chosen], x.high[chosen])


def _channels(inputs: Types, result: TensorType, attrs: StridedSliceAttrs) -> Channels | None:
    """Rows and columns may be cut while all channels stay."""
    if not result.shape or result.shape[-1] != inputs[0].shape[-1] or attrs.begin[-1]:
        return None
    return same_channels(inputs, result, attrs)


OP = Op(
    "strided_slice",
    StridedSliceAttrs,
    _infer,
    reference=_reference,
    define=_define,
    ranges=_ranges,
    channels=_channels,
)
