"""``transpose_conv2d_phases``: a transposed convolution as one plain convolution per output phase.

With stride s, result rows y*s + f of one phase f see only the taps k with k = f + padding modulo s,
and these see adjacent input rows; likewise columns. So every (row phase, column phase) is a dense
window over the input:

    out[y*s + f] += in[y + base - t] * weight[first + s*t]      for t in 0..taps

The weights are one axis: for each pair of phases a block [filters, rows, columns, depth] of its
taps in the order of rising input positions. The bias has one element per filter, or one per pair of
phases and filter, since padding holds ``input_zero_point`` and only taps that are there may be
folded. ``transpose_conv2d`` emits this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from math import prod
from typing import Any

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import Binary, Buffer, Expr, If, Imm, Let, Load, Stmt, Var
from utvm.ir.rewrite import substitute
from utvm.ir.verify_graph import MAX_ELEMENTS
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.conv2d import accumulator_type, check_weighted_sum
from utvm.op.definition import Definition, cast, grid, register, sum_type, weighted_sum
from utvm.op.ranges import Interval, Operands, sum_range
from utvm.op.window import Pair, expect_image, padded_image, padding_value
from utvm.support.errors import UnsupportedError

# As many loop nests as one kernel may have.
MOST_PHASES = 256


@dataclass(frozen=True)
class TransposeConv2dPhasesAttrs(Attrs):
    """``window``, ``strides``: rows and columns. ``padding``: what is cut off above and on the
    left.

    ``size``: rows and columns of the result; those that no tap reaches hold the bias. The zero
    points and ``accumulator`` are conv2d's.
    """

    window: Pair
    strides: Pair
    padding: Pair
    size: Pair
    input_zero_point: int = 0
    weight_zero_point: int = 0
    accumulator: str = "int32"


@dataclass(frozen=True)
class Phase:
    """Results ``position * stride + offset`` along one axis, ``count`` of them.

    They see ``taps`` inputs, the last of them at ``position + base``; the weight there is
    ``first``.
    """

    offset: int
    first: int
    taps: int
    base: int
    count: int


def phases(window: int, stride: int, padding: int, size: int) -> list[Phase]:
    """The phases along one axis; the last ones are empty for a result smaller than the stride."""
    found = []
    for offset in range(stride):
        base, first = divmod(offset + padding, stride)
        taps = max(-(-(window - first) // stride), 0)
        found.append(Phase(offset, first, taps, base, max(-(-(size - offset) // stride), 0)))
    return found


def phase_taps(phase: Phase, stride: int) -> slice:
    """The weights of a phase along one axis, in the order of rising input positions."""
    indices = [phase.first + stride * t for t in reversed(range(phase.taps))]
    end = phase.first - stride
    return slice(indices[0], end if end >= 0 else None, -stride) if indices else slice(0, 0)


def expect_geometry(x: TensorType, attrs: Any) -> None:
    """Checks ``window``, ``strides``, ``padding`` and ``size`` before phases are counted.

    Every pair of phases becomes a loop nest of its own.
    """
    window, strides, padding, size = attrs.window, attrs.strides, attrs.padding, attrs.size
    expect(min(*window, *strides) >= 1, "windows and strides are positive",
           found=[*window, *strides])  # fmt: skip
    expect(min(size) >= 1 and min(padding) >= 0, "the result has no elements",
           found=[*size, *padding])  # fmt: skip
    if prod(strides) > MOST_PHASES:
        raise UnsupportedError(
            "the strides of this transposed convolution are too large",
            expected=f"rows times columns at most {MOST_PHASES}",
            found=str(list(strides)),
        )
    largest = max(*window, *padding, *size)
    expect(largest <= MAX_ELEMENTS, "the window, the padding or the result is too large",
           f"at most {MAX_ELEMENTS}", largest)  # fmt: skip
    rows, columns = (
        sum(_span(phases(*axis))[i] for i in (0, 1))
        for axis in zip(window, strides, padding, size, strict=True)
    )
    expect_image((x.shape[0], rows, columns, x.shape[3]))


def _pairs(attrs: TransposeConv2dPhasesAttrs) -> tuple[list[Phase], list[Phase]]:
    rows, columns = (
        phases(*axis)
        for axis in zip(attrs.window, attrs.strides, attrs.padding, attrs.size, strict=True)
    )
    return rows, columns


def _infer(inputs: Types, attrs: TransposeConv2dPhasesAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 3)
    x, weight, bias = inputs
    expect(len(x.shape) == 4, "transpose_conv2d_phases takes NHWC", "rank 4", x)
    expect_geometry(x, attrs)
    taps = prod(attrs.window) * x.shape[3]
    expect(weight.elements % taps == 0, "the weights do not fit the window", f"multiple of {taps}",
           weight)  # fmt: skip
    filters = weight.elements // taps
    expect(bias.elements in (filters, filters * prod(attrs.strides)), "one bias per filter",
           str(filters), bias)  # fmt: skip
    shape = (x.shape[0], *attrs.size, filters)
    return (TensorType(shape, accumulator_type(x, attrs.accumulator)),)


def _reference(inputs: Arrays, attrs: TransposeConv2dPhasesAttrs) -> tuple[np.ndarray, ...]:
    """Each phase as a product of its windows and its block of weights."""
    x, weight, bias = inputs
    is_float = x.dtype.kind == "f"
    wide: type[Any] = np.float32 if is_float else np.int64
    depth = x.shape[3]
    filters = weight.size // (prod(attrs.window) * depth)
    biases = np.broadcast_to(bias.reshape(-1, filters), (prod(attrs.strides), filters))
    rows, columns = _pairs(attrs)
    reach = max(*attrs.window, *(phase.base + phase.count for phase in rows + columns))
    full = np.pad(x.astype(wide), ((0, 0), (reach, reach), (reach, reach), (0, 0)),
                  constant_values=attrs.input_zero_point)  # fmt: skip
    result = np.zeros((x.shape[0], *attrs.size, filters), wide)
    begin = 0
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            shape = (filters, row.taps, column.taps, depth)
            block = weight.reshape(-1)[begin : begin + prod(shape)].reshape(shape).astype(wide)
            begin += prod(shape)
            total = np.zeros((x.shape[0], row.count, column.count, filters), wide)
            for ky in range(row.taps):
                for kx in range(column.taps):
                    top = reach + row.base - row.taps + 1 + ky
                    left = reach + column.base - column.taps + 1 + kx
                    part = full[:, top : top + row.count, left : left + column.count]
                    total += part @ (block[:, ky, kx] - wide(attrs.weight_zero_point)).T
            total += biases[i * attrs.strides[1] + j].astype(wide)
            result[:, row.offset :: attrs.strides[0], column.offset :: attrs.strides[1]] = total
    return (result.astype(np.float32 if is_float else DType(attrs.accumulator).numpy),)


@dataclass(frozen=True)
class _Image:
    """The padded input: [N, rows, columns * C], where input (0, 0) lies at (top, left)."""

    buffer: Buffer
    top: int
    left: int


def _define(d: Definition) -> tuple[Stmt, ...]:
    """Loops n and y; in them, for each pair of phases, x and c around the taps ky and r."""
    attrs: TransposeConv2dPhasesAttrs = d.attrs
    rows, columns = _pairs(attrs)
    (top, height), (left, width) = _span(rows), _span(columns)
    zero = padding_value(d.buffers[0].dtype, attrs.input_zero_point)
    stage, buffer = padded_image(d, (top, left), (height, width), zero)
    image = _Image(buffer, top, left)
    turns = max(row.count for row in rows)
    body: tuple[Stmt, ...] = ()
    begin = 0
    for i, row in enumerate(rows):
        nests: tuple[Stmt, ...] = ()
        for j, column in enumerate(columns):
            nests += _phase(d, image, (row, column), i * attrs.strides[1] + j, begin)
            begin += d.output.shape[3] * row.taps * column.taps * d.buffers[0].shape[3]
        short = row.count < turns
        body += (If(Binary("<", Var("y"), Imm(row.count)), nests),) if short else nests
    return stage + grid(("n", "y"), (d.buffers[0].shape[0], turns), body)


def _span(axis: list[Phase]) -> tuple[int, int]:
    """How far the phases reach in front of the input, and over how many positions from there."""
    used = [phase for phase in axis if phase.taps and phase.count]
    before = max((phase.taps - 1 - phase.base for phase in used), default=0)
    end = max((phase.base + phase.count for phase in used), default=1)
    return max(before, 0), end + max(before, 0)


def _phase(
    d: Definition, image: _Image, pair: tuple[Phase, Phase], number: int, begin: int
) -> tuple[Stmt, ...]:
    """The convolution of one pair of phases; its weights begin at ``begin``."""
    attrs: TransposeConv2dPhasesAttrs = d.attrs
    row, column = pair
    depth, filters = d.buffers[0].shape[3], d.output.shape[3]
    n, y, x, c, ky, r = (Var(name) for name in ("n", "y", "x", "c", "ky", "r"))
    weights = d.buffers[1].view(d.buffers[1].elements)
    reach = column.taps * depth
    data = d.constants[1]
    if data is not None:
        data = data.reshape(-1)[begin : begin + filters * row.taps * reach].reshape(filters, -1)
    acc = register(f"acc{number}", sum_type(d.output.dtype, d.buffers[0].dtype, data))
    first_row = image.top + row.base - row.taps + 1
    first_column = image.left + column.base - column.taps + 1

    def update(value: Expr) -> Expr:
        at = (n, y + ky + first_row, (x + first_column) * depth + r)
        pixel = cast(Load(image.buffer, at), acc.dtype)
        weight_at = (c * row.taps + ky) * reach + r + begin
        weight = cast(Load(weights, (weight_at,)), acc.dtype)
        if attrs.weight_zero_point:
            weight = weight - attrs.weight_zero_point
        return value + pixel * weight

    biases = d.buffers[2].view(d.buffers[2].elements)
    shared = biases.elements == filters
    bias = cast(Load(biases, (c if shared else c + number * filters,)), d.output.dtype)
    body, total = weighted_sum(acc, bias, (("ky", row.taps), ("r", reach)), update)
    index = (n, y * attrs.strides[0] + row.offset, x * attrs.strides[1] + column.offset, c)
    body += _renamed(d.store(index, cast(total, d.output.dtype)), f"_{number}")
    return grid(("x", "c"), (column.count, filters), body)


def _renamed(body: tuple[Stmt, ...], suffix: str) -> tuple[Stmt, ...]:
    """``body`` with its lets renamed: loops of one turn dissolve, and then phases share a scope."""
    lets = {
        s.var.name: replace(s.var, name=s.var.name + suffix) for s in body if isinstance(s, Let)
    }
    return tuple(
        Let(lets[s.var.name], s.value) if isinstance(s, Let) else s for s in substitute(body, lets)
    )


def _macs(inputs: Types, outputs: Types) -> int:
    """Every input under every tap, also where the result is cut off."""
    x, weight = inputs[:2]
    return x.elements // x.shape[3] * weight.elements


def _ranges(
    operands: Operands, result: TensorType, attrs: TransposeConv2dPhasesAttrs
) -> Interval | None:
    """What any phase can yield."""
    x, weight, bias = operands
    if weight.data is None or bias.data is None or x.type.dtype.is_float:
        return None
    depth, filters = x.type.shape[3], result.shape[3]
    inside = x.interval.with_value(attrs.input_zero_point).over(depth)
    data = weight.data.reshape(-1).astype(np.int64) - attrs.weight_zero_point
    biases = np.broadcast_to(bias.data.reshape(-1, filters), (prod(attrs.strides), filters))
    found: list[Interval] = []
    begin = 0
    for number, (row, column) in enumerate(product(*_pairs(attrs))):
        size = filters * row.taps * column.taps * depth
        block = data[begin : begin + size].reshape(1, filters, row.taps * column.taps, depth)
        begin += size
        offset = replace(bias, data=biases[number])
        interval = sum_range(inside, block, offset, result.dtype)
        if interval is None:
            return None
        found.append(interval)
    return reduce(Interval.joined, found)


OP = Op(
    "transpose_conv2d_phases",
    TransposeConv2dPhasesAttrs,
    _infer,
    check_weighted_sum,
    reference=_reference,
    define=_define,
    macs=_macs,
    operands=("x", "weight", "bias"),
    ranges=_ranges,
)
