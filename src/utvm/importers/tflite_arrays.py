"""TFLite operators that move elements: reshaping, padding, slicing, joining, transposing.

Each function is one row of the table in ``tflite_ops``: it reads one operator through its context
and emits nodes. SPLIT, UNPACK and their like become several slices, PACK becomes reshapes and one
concatenation; masks and negative numbers are resolved here, so that attributes are plain numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from utvm.importers.tflite_context import OpContext
from utvm.importers.tflite_layers import check_same_quantization
from utvm.importers.tflite_math import normal_axis
from utvm.op.concat import ConcatAttrs
from utvm.op.gather import GatherAttrs
from utvm.op.pad import PadAttrs
from utvm.op.reshape import ReshapeAttrs
from utvm.op.strided_slice import StridedSliceAttrs
from utvm.op.transpose import TransposeAttrs

Shape = tuple[int, ...]


def reshape(ctx: OpContext) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the declared result says the shape."""
    ctx.emit("reshape", ctx.names(0), ReshapeAttrs(ctx.output().shape))


def shape(ctx: OpContext) -> None:
    """Shapes are static, so SHAPE is a constant."""
    ctx.constant_result(np.array(ctx.shape(0)))


def transpose(ctx: OpContext) -> None:
    rank = len(ctx.shape(0))
    permutation = tuple(normal_axis(ctx, axis, rank) for axis in ctx.integers(1, "axes"))
    if sorted(permutation) != list(range(rank)):
        raise ctx.broken(
            "the axes are no permutation", expected=f"0 to {rank - 1}", found=list(permutation)
        )
    ctx.emit("transpose", ctx.names(0), TransposeAttrs(permutation))


def gather(ctx: OpContext) -> None:
    x = ctx.shape(0)
    axis = normal_axis(ctx, ctx.integer("axis"), len(x))
    if ctx.integer("batch_dims"):
        raise ctx.unsupported("batch dimensions are not supported", expected="batch_dims 0")
    indices = ctx.constant(1)
    if indices is not None and not 0 <= indices.min() <= indices.max() < x[axis]:
        raise ctx.broken(
            "an index is outside the axis",
            expected=f"0 to {x[axis] - 1}",
            found=f"{indices.min()} to {indices.max()}",
        )
    ctx.emit("gather", ctx.names(0, 1), GatherAttrs(axis))


def pad(ctx: OpContext) -> None:
    """PAD and PADV2; without a value, and on quantized tensors, it means a real zero."""
    before, after = _paddings(ctx)
    value: float | int | None = None
    if ctx.has(2):
        data = ctx.constant(2)
        if data is None or data.size != 1:
            raise ctx.unsupported("the padding value must be one constant", found=ctx.input(2))
        value = data.reshape(-1)[0].item()
    ctx.emit("pad", ctx.names(0), PadAttrs(before, after, "constant", value))


def mirror_pad(ctx: OpContext) -> None:
    before, after = _paddings(ctx)
    mode = ctx.integer("mode")
    if mode not in (0, 1):
        raise ctx.broken("unknown padding mode", expected="0 or 1", found=mode)
    # REFLECT leaves out the edge itself, so it has one element less to give.
    for extent, *sides in zip(ctx.shape(0), before, after, strict=True):
        if max(sides) > extent - (mode == 0):
            raise ctx.broken(
                "the padding is larger than what it mirrors",
                expected=f"at most {extent - (mode == 0)}",
                found=max(sides),
            )
    mode_name = "reflect" if mode == 0 else "symmetric"
    ctx.emit("pad", ctx.names(0), PadAttrs(before, after, mode_name))


def _paddings(ctx: OpContext) -> tuple[Shape, Shape]:
    rank = len(ctx.shape(0))
    if ctx.shape(1) != (rank, 2):
        raise ctx.broken(
            "the paddings do not fit the input",
            expected=str([rank, 2]),
            found=list(ctx.shape(1)),
        )
    numbers = ctx.integers(1, "paddings")
    if min(numbers, default=0) < 0:
        raise ctx.broken("a padding is negative", expected="0 or more", found=min(numbers))
    check_same_quantization(ctx, ctx.input(0), ctx.output())
    return numbers[::2], numbers[1::2]


def concatenation(ctx: OpContext) -> None:
    if ctx.activation() != "none":
        raise ctx.unsupported("a fused activation is not supported", found=ctx.activation())
    count = len(ctx.operator.inputs)
    _check_ranks(ctx, count)
    if ctx.input(0).type_name == "int8":
        check_same_quantization(ctx, ctx.output(), *(ctx.input(i) for i in range(count)))
    axis = normal_axis(ctx, ctx.integer("axis"), len(ctx.shape(0)))
    ctx.emit("concat", ctx.names(*range(count)), ConcatAttrs(axis))


def _check_ranks(ctx: OpContext, count: int) -> None:
    ranks = {len(ctx.shape(position)) for position in range(count)}
    if len(ranks) != 1:
        raise ctx.broken("operands differ in rank", expected="one rank", found=sorted(ranks))


def pack(ctx: OpContext) -> None:
    """Each operand gets an axis of length 1, then they are joined."""
    tensors = [ctx.input(i) for i in range(len(ctx.operator.inputs))]
    _check_ranks(ctx, len(tensors))
    rank = len(ctx.shape(0)) + 1
    axis = normal_axis(ctx, ctx.integer("axis"), rank)
    check_same_quantization(ctx, ctx.output(), *tensors)
    parts = []
    for position, tensor in enumerate(tensors):
        attrs = ReshapeAttrs((*tensor.shape[:axis], 1, *tensor.shape[axis:]))
        parts.append(ctx.intermediate("reshape", ctx.names(position), attrs, tensor))
    ctx.emit("concat", parts, ConcatAttrs(axis))


def unpack(ctx: OpContext) -> None:
    x = ctx.shape(0)
    axis = normal_axis(ctx, ctx.integer("axis"), len(x))
    count = len(ctx.operator.outputs)
    if count != x[axis] or count != ctx.integer("num"):
        raise ctx.broken(
            "the number of results does not fit the axis", expected=x[axis], found=count
        )
    for position in range(count):
        attrs = _along(x, axis, position, 1)
        part = ctx.intermediate("strided_slice", ctx.names(0), attrs, ctx.output(position))
        ctx.emit("reshape", [part], ReshapeAttrs(ctx.output(position).shape), position)


def split(ctx: OpContext) -> None:
    """Operands: axis, input."""
    axis, x = _split_axis(ctx, 0, source=1), ctx.shape(1)
    count = len(ctx.operator.outputs)
    if count != ctx.integer("num_splits") or not count or x[axis] % count:
        raise ctx.broken(
            "the axis cannot be split evenly", expected=f"a divisor of {x[axis]}", found=count
        )
    _emit_parts(ctx, 1, axis, (x[axis] // count,) * count)


def split_v(ctx: OpContext) -> None:
    """Operands: input, sizes (one may be -1, the rest), axis."""
    axis, x = _split_axis(ctx, 2, source=0), ctx.shape(0)
    sizes = ctx.integers(1, "sizes")
    rest = x[axis] - sum(size for size in sizes if size != -1)
    full = tuple(rest if size == -1 else size for size in sizes)
    if sizes.count(-1) > 1 or sum(full) != x[axis] or min(full, default=0) < 1:
        raise ctx.broken(
            "the sizes do not fit the axis", expected=f"a sum of {x[axis]}", found=list(sizes)
        )
    if len(full) != len(ctx.operator.outputs):
        raise ctx.broken(
            "sizes and results differ in number",
            expected=len(full),
            found=len(ctx.operator.outputs),
        )
    _emit_parts(ctx, 0, axis, full)


def _split_axis(ctx: OpContext, position: int, source: int) -> int:
    axes = ctx.integers(position, "axes")
    if len(axes) != 1:
        raise ctx.broken("a split takes one axis", expected="1", found=len(axes))
    return normal_axis(ctx, axes[0], len(ctx.shape(source)))


def _emit_parts(ctx: OpContext, source: int, axis: int, sizes: Shape) -> None:
    begin = 0
    for position, size in enumerate(sizes):
        attrs = _along(ctx.shape(source), axis, begin, size)
        ctx.emit("strided_slice", ctx.names(source), attrs, position)
        begin += size


def _along(x: Shape, axis: int, begin: int, size: int) -> StridedSliceAttrs:
    """``size`` elements of one axis, everything of the others."""
    return StridedSliceAttrs(
        begin=tuple(begin if i == axis else 0 for i in range(len(x))),
        strides=(1,) * len(x),
        shape=tuple(size if i == axis else n for i, n in enumerate(x)),
    )


def slice_(ctx: OpContext) -> None:
    """SLICE: begin and size per axis; size -1 means the rest."""
    x = ctx.shape(0)
    begin, size = ctx.integers(1, "begins"), ctx.integers(2, "sizes")
    if not len(begin) == len(size) == len(x):
        raise ctx.broken(
            "begin and size do not fit the input",
            expected=f"{len(x)} numbers",
            found=f"{len(begin)} and {len(size)}",
        )
    counts = tuple(n - b if s == -1 else s for n, b, s in zip(x, begin, size, strict=True))
    for n, first, count in zip(x, begin, counts, strict=True):
        if not (first >= 0 and count >= 1 and first + count <= n):
            raise ctx.broken(
                "the slice leaves its input",
                expected=f"a part of 0 to {n - 1}",
                found=f"{count} elements from {first}",
            )
    ctx.emit("strided_slice", ctx.names(0), StridedSliceAttrs(begin, (1,) * len(x), counts))


def strided_slice(ctx: OpContext) -> None:
    """The slice itself keeps every axis; a reshape drops or adds axes where the masks say so."""
    x = ctx.shape(0)
    axes = _resolve(ctx, x)
    attrs = StridedSliceAttrs(
        begin=tuple(axis.begin for axis in axes if not axis.is_new),
        strides=tuple(axis.stride for axis in axes if not axis.is_new),
        shape=tuple(axis.count for axis in axes if not axis.is_new),
    )
    final = tuple(axis.count for axis in axes if not axis.is_dropped)
    if final == attrs.shape:
        ctx.emit("strided_slice", ctx.names(0), attrs)
        return
    part = ctx.intermediate("strided_slice", ctx.names(0), attrs, ctx.output())
    ctx.emit("reshape", [part], ReshapeAttrs(final))


@dataclass(frozen=True)
class _Axis:
    """One axis of a strided slice: of the input, or new in the result."""

    begin: int
    stride: int
    count: int
    is_new: bool = False
    is_dropped: bool = False


def _resolve(ctx: OpContext, x: Shape) -> list[_Axis]:
    """The axes that begin, end, strides and the five masks describe."""
    begins, ends = ctx.integers(1, "begins"), ctx.integers(2, "ends")
    strides = ctx.integers(3, "strides")
    if not len(begins) == len(ends) == len(strides):
        raise ctx.broken(
            "begin, end and strides differ in length",
            expected=len(begins),
            found=f"{len(ends)} and {len(strides)}",
        )
    positions = range(len(begins))
    ellipsis = [i for i in positions if _bit(ctx, "ellipsis_mask", i)]
    new = [i for i in positions if _bit(ctx, "new_axis_mask", i) and i not in ellipsis]
    hidden = len(x) - (len(begins) - len(new) - len(ellipsis))
    if hidden < 0 or len(ellipsis) > 1:
        raise ctx.broken(
            "the slice does not fit its input",
            expected=f"{len(x)} axes, at most 1 ellipsis",
            found=f"{len(begins) - len(new) - len(ellipsis)} axes, {len(ellipsis)} ellipses",
        )
    axes: list[_Axis] = []
    at = 0
    for i in (*positions, *([] if ellipsis else [None])):
        if i is None or i in ellipsis:
            axes += [_Axis(0, 1, n) for n in x[at : at + hidden]]
            at += hidden
        elif i in new:
            axes.append(_Axis(0, 1, 1, is_new=True))
        else:
            axes.append(_slice_axis(ctx, i, x[at], begins[i], ends[i], strides[i]))
            at += 1
    return axes


def _slice_axis(ctx: OpContext, i: int, extent: int, begin: int, end: int, stride: int) -> _Axis:
    """Position ``i`` of the slice on an axis of ``extent`` elements."""
    if stride == 0:
        raise ctx.broken("a stride is zero", expected="any other number", found=0)
    if ctx.flag("offset"):
        end += begin
    # The positions that a slice of this direction may begin or end at.
    low, high = (0, extent) if stride > 0 else (-1, extent - 1)
    is_dropped = _bit(ctx, "shrink_axis_mask", i)
    first = begin + extent if begin < 0 else begin
    last = end + extent if end < 0 else end
    first, last = min(max(first, low), high), min(max(last, low), high)
    if _bit(ctx, "begin_mask", i):
        first = low if stride > 0 else high
    if _bit(ctx, "end_mask", i):
        last = high if stride > 0 else low
    if is_dropped:
        if stride < 0 or not 0 <= first < extent:
            raise ctx.broken(
                "the slice takes an element outside its input",
                expected=f"0 to {extent - 1}",
                found=begin,
            )
        return _Axis(first, 1, 1, is_dropped=True)
    count = math.ceil((last - first) / stride)
    if count < 1:
        raise ctx.unsupported("the slice is empty", expected="at least 1 element", found=count)
    return _Axis(first, stride, count)


def _bit(ctx: OpContext, mask: str, position: int) -> bool:
    return bool(ctx.integer(mask) >> position & 1)
