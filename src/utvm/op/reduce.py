"""``sum``, ``mean``, ``reduce_max``, ``reduce_min``: a tensor reduced along any of its axes.

Plain form: narrow integers sum into int32, other types into their own; an integer ``mean``
truncates; ``reduce_max`` and ``reduce_min`` keep the type. ``legalize`` makes a quantized SUM or
MEAN an int32 ``sum`` and a ``requantize`` that holds the division by the count. Adjacent axes of
one kind are one loop: k0, k1, ... and c (the innermost, if it is kept) around r0, r1, ... and r.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import Binary, Expr, Imm, Load, Stmt, Var, maximum, minimum
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.channels import Channels, same_channels
from utvm.op.definition import Definition, Index, cast, grid, reduction, register
from utvm.op.quantize_reduce import mean_params, sum_reduce_params
from utvm.op.quantized import quant_of, requantize_pairs
from utvm.op.ranges import Interval, Operands, summed
from utvm.op.requantize import RequantizeAttrs
from utvm.op.window import padding_value


@dataclass(frozen=True)
class ReduceAttrs(Attrs):
    """``axes``: which axes are reduced, counted from the front. ``keep_dims``: they stay with size
    one.
    """

    axes: tuple[int, ...]
    keep_dims: bool = False


@dataclass(frozen=True)
class Axes:
    """The axes of the operand in groups, outermost first, and how loops walk them.

    ``kept`` and ``reduced`` are loops by name and extent; ``index`` is the operand's element in the
    shape ``groups``, ``result`` the result's in the shape ``view``.
    """

    groups: tuple[int, ...]
    kept: tuple[tuple[str, int], ...]
    reduced: tuple[tuple[str, int], ...]
    index: Index
    result: Index
    view: tuple[int, ...]


def reduced_shape(shape: tuple[int, ...], attrs: ReduceAttrs) -> tuple[int, ...]:
    """The result's shape; ModelError for axes that the operand does not have."""
    expect(all(0 <= axis < len(shape) for axis in attrs.axes), "the axis does not exist",
           f"0 to {len(shape) - 1}", attrs.axes)  # fmt: skip
    expect(len(set(attrs.axes)) == len(attrs.axes), "an axis is reduced twice", found=attrs.axes)
    if attrs.keep_dims:
        return tuple(1 if i in attrs.axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in attrs.axes)


def grouped_axes(
    shape: tuple[int, ...], attrs: ReduceAttrs, output: tuple[int, ...], merge: bool
) -> Axes:
    """The loops of a reduction; kept axes are merged only if ``merge``."""
    groups: list[tuple[int, bool]] = []
    for axis, extent in enumerate(shape):
        is_reduced = axis in attrs.axes
        if extent == 1 and (merge or is_reduced):
            continue
        if groups and groups[-1][1] == is_reduced and (merge or is_reduced):
            extent *= groups.pop()[0]
        groups.append((extent, is_reduced))
    names = _names([is_reduced for _, is_reduced in groups])
    loops = [(name, extent) for name, (extent, _) in zip(names, groups, strict=True)]
    pairs = list(zip(loops, groups, strict=True))
    reduced = tuple(found for found, (_, is_reduced) in pairs if is_reduced)
    kept = tuple(found for found, (_, is_reduced) in pairs if not is_reduced)
    result: Index = tuple(Var(name) for name, _ in kept)
    view = tuple(extent for _, extent in kept)
    if merge:
        result, view = result or (Imm(0),), view or (1,)
    elif attrs.keep_dims:
        walked = iter(result)
        result = tuple(Imm(0) if i in attrs.axes else next(walked) for i in range(len(shape)))
        view = output
    index: Index = tuple(Var(name) for name in names) or (Imm(0),)
    extents = tuple(extent for extent, _ in groups) or (1,)
    return Axes(extents, kept, reduced, index, result, view)


def _names(reduced: list[bool]) -> list[str]:
    """k0, k1, ... for kept axes and r0, r1, ... for reduced ones; the innermost c and r."""
    names: list[str] = []
    for position, is_reduced in enumerate(reduced):
        kind = "r" if is_reduced else "k"
        names.append(f"{kind}{reduced[:position].count(is_reduced)}")
    if True in reduced:
        names[len(reduced) - 1 - reduced[::-1].index(True)] = "r"
    if reduced and not reduced[-1]:
        names[-1] = "c"
    return names


def _sum_type(dtype: DType) -> DType:
    return DType.INT32 if dtype.is_integer and dtype.bits < 32 else dtype


def _infer_sum(inputs: Types, attrs: ReduceAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    expect(inputs[0].dtype is not DType.BOOL, "truth values have no sum", "numbers")
    return (TensorType(reduced_shape(inputs[0].shape, attrs), _sum_type(inputs[0].dtype)),)


def _infer_mean(inputs: Types, attrs: ReduceAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    expect(inputs[0].dtype is not DType.BOOL, "truth values have no mean", "numbers")
    return _infer_same(inputs, attrs)


def _infer_same(inputs: Types, attrs: ReduceAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    return (TensorType(reduced_shape(inputs[0].shape, attrs), inputs[0].dtype),)


def _reference_sum(inputs: Arrays, attrs: ReduceAttrs) -> tuple[np.ndarray, ...]:
    x = inputs[0]
    dtype = _sum_type(DType(x.dtype.name)).numpy
    return (x.sum(axis=attrs.axes, keepdims=attrs.keep_dims, dtype=dtype),)


def _reference_mean(inputs: Arrays, attrs: ReduceAttrs) -> tuple[np.ndarray, ...]:
    x = inputs[0]
    count = prod(x.shape[axis] for axis in attrs.axes)
    (total,) = _reference_sum(inputs, attrs)
    if x.dtype.kind == "f":
        return ((total / np.float32(count)).astype(np.float32),)
    quotient = np.sign(total) * (np.abs(total) // count)
    return (quotient.astype(x.dtype),)


def _reference_max(inputs: Arrays, attrs: ReduceAttrs) -> tuple[np.ndarray, ...]:
    return (inputs[0].max(axis=attrs.axes, keepdims=attrs.keep_dims),)


def _reference_min(inputs: Arrays, attrs: ReduceAttrs) -> tuple[np.ndarray, ...]:
    return (inputs[0].min(axis=attrs.axes, keepdims=attrs.keep_dims),)


def _nest(
    d: Definition,
    initial: Imm,
    update: Callable[[Expr, Expr], Expr],
    finish: Callable[[Expr], Expr] = lambda total: total,
) -> tuple[Stmt, ...]:
    """The loops over what is kept, a register, and the loops over what is reduced."""
    axes = grouped_axes(d.buffers[0].shape, d.attrs, d.output.shape, d.reshapeable)
    source = d.buffers[0].view(*axes.groups)
    acc = register("acc", initial.dtype)

    def step(total: Expr) -> Expr:
        return update(total, cast(Load(source, axes.index), acc.dtype))

    body = reduction(acc, initial, axes.reduced, step)
    value = cast(finish(Load(acc)), d.output.dtype)
    body += d.store(axes.result, value, shape=axes.view)
    names, extents = tuple(n for n, _ in axes.kept), tuple(e for _, e in axes.kept)
    return grid(names, extents, body)


def _define_sum(d: Definition) -> tuple[Stmt, ...]:
    initial = padding_value(d.output.dtype, 0)
    return _nest(d, initial, lambda total, x: total + x)


def _define_mean(d: Definition) -> tuple[Stmt, ...]:
    attrs: ReduceAttrs = d.attrs
    count = prod(d.buffers[0].shape[axis] for axis in attrs.axes)
    initial = padding_value(_sum_type(d.output.dtype), 0)

    def divided(total: Expr) -> Expr:
        return Binary("/", total, padding_value(initial.dtype, count))

    return _nest(d, initial, lambda total, x: total + x, divided)


def _define_max(d: Definition) -> tuple[Stmt, ...]:
    dtype = d.output.dtype
    return _nest(d, _bound(dtype, -np.inf, dtype.minimum), maximum)


def _define_min(d: Definition) -> tuple[Stmt, ...]:
    dtype = d.output.dtype
    return _nest(d, _bound(dtype, np.inf, dtype.maximum), minimum)


def _bound(dtype: DType, infinite: float, finite: int) -> Imm:
    """Where a maximum or minimum starts, in the type it is computed in."""
    return Imm(infinite, dtype) if dtype.is_float else Imm(finite, _sum_type(dtype))


def _legalize_sum(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    """SUM and MEAN: the sum in int32, less the zero point of every element, rescaled."""
    if b.quantization(node.outputs[0]) is None:
        return None
    attrs: ReduceAttrs = node.attrs  # type: ignore[assignment]
    shape = b.type_of(node.inputs[0]).shape
    count = prod(shape[axis] for axis in attrs.axes)
    x, out = quant_of(b.value(node.inputs[0])), quant_of(b.value(node.outputs[0]))
    p = (mean_params if node.op == "mean" else sum_reduce_params)(x, out, count)
    total = b.emit("sum", node.inputs, attrs, node.name)
    result = RequantizeAttrs(
        out.dtype.value,
        p.qmin,
        p.qmax,
        input_zero_point=p.zero_point_sum,
        output_zero_point=p.zero_point,
    )
    return (requantize_pairs(b, total, [(p.multiplier, p.shift)], result),)


def _ranges(operands: Operands, result: TensorType, attrs: ReduceAttrs) -> Interval | None:
    """Means, least and greatest elements lie between the elements."""
    x, shape = operands[0], operands[0].type.shape
    if not summed(x.interval, shape, attrs.axes).fits(_sum_type(x.type.dtype)):
        return None
    return x.interval.hull if len(shape) - 1 in attrs.axes else x.interval


def _sum_ranges(operands: Operands, result: TensorType, attrs: ReduceAttrs) -> Interval | None:
    if operands[0].type.dtype.bits > 32:
        return None
    total = summed(operands[0].interval, operands[0].type.shape, attrs.axes)
    return total if total.fits(result.dtype) else None


def _channels(inputs: Types, result: TensorType, attrs: ReduceAttrs) -> Channels | None:
    """Channels that are not themselves reduced stay what they are."""
    if len(inputs[0].shape) - 1 in attrs.axes or not result.shape:
        return None
    return same_channels(inputs, result, attrs)


SUM = Op(
    "sum",
    ReduceAttrs,
    _infer_sum,
    reference=_reference_sum,
    define=_define_sum,
    legalize=_legalize_sum,
    operands=("x",),
    ranges=_sum_ranges,
    channels=_channels,
)
MEAN = Op(
    "mean",
    ReduceAttrs,
    _infer_mean,
    reference=_reference_mean,
    define=_define_mean,
    legalize=_legalize_sum,
    operands=("x",),
    ranges=_ranges,
    channels=_channels,
)
REDUCE_MAX = Op(
    "reduce_max",
    ReduceAttrs,
    _infer_same,
    reference=_reference_max,
    define=_define_max,
    operands=("x",),
    ranges=_ranges,
    channels=_channels,
)
REDUCE_MIN = Op(
    "reduce_min",
    ReduceAttrs,
    _infer_same,
    reference=_reference_min,
    define=_define_min,
    operands=("x",),
    ranges=_ranges,
    channels=_channels,
)
