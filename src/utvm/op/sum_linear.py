"""``sum_linear``: the weighted sum of two 8-bit tensors in one shift: quantized ADD and SUB.

    y = clamp((left * a + right * b + addend) >> shift, low, high)

``emit_sum_linear`` finds constants for which this equals the reference kernels' three rescales and
six roundings on all 65536 pairs of operands: it tries weights around the real ones, and takes the
addend from the interval that the pairs leave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import INT32, Cast, Expr, clamp
from utvm.op.base import (
    Arrays,
    Op,
    Types,
    broadcast_shape,
    expect,
    expect_inputs,
    expect_range,
    narrow_type,
)
from utvm.op.builder import GraphBuilder
from utvm.op.definition import Element, cast
from utvm.op.fixed_point import Int64Array, int64_of, saturate
from utvm.op.ranges import Interval, Operands, at_corners

LIMIT = (1 << 31) - 1
# How far a weight is moved from the real one, and how many shifts are tried.
REACH, SHIFTS = 2, 4
MOST_SHIFT = 28
# Zero points and the result itself, in steps: what a sum reaches beside its operands.
MARGIN = 512


@dataclass(frozen=True)
class SumLinearAttrs(Attrs):
    """``weights`` of both operands; ``low``/``high``: inclusive bounds of the result."""

    dtype: str
    low: int
    high: int
    weights: tuple[int, int]
    addend: int
    shift: int


def _infer(inputs: Types, attrs: SumLinearAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 2)
    for x in inputs:
        expect(x.dtype in (DType.INT8, DType.UINT8), "wrong element type", "int8 or uint8", x)
    shape = broadcast_shape([inputs[0].shape, inputs[1].shape])
    expect_range("the shift", attrs.shift, 0, 31)
    left, right = (
        np.array([x.dtype.minimum, x.dtype.maximum], object) * weight
        for x, weight in zip(inputs, attrs.weights, strict=True)
    )
    partial = left + attrs.addend
    sums = [*left, *right, *partial, *np.add.outer(partial, right).flat]
    expect(max(map(abs, sums)) <= LIMIT, "the sum does not fit 32 bits",
           found=f"{list(attrs.weights)} and {attrs.addend}")  # fmt: skip
    return (TensorType(shape, narrow_type(attrs.dtype, attrs.low, attrs.high)),)


def _sum(left: Int64Array, right: Int64Array, attrs: SumLinearAttrs) -> Int64Array:
    a, b = attrs.weights
    return left * a + right * b + attrs.addend


def _reference(inputs: Arrays, attrs: SumLinearAttrs) -> tuple[np.ndarray, ...]:
    total = _sum(int64_of(inputs[0]), int64_of(inputs[1]), attrs)
    return (saturate(total >> attrs.shift, attrs.low, attrs.high).astype(attrs.dtype),)


def _compute(element: Element) -> Expr:
    attrs: SumLinearAttrs = element.attrs
    left, right = (cast(element.arg(i), INT32) for i in range(2))
    a, b = attrs.weights
    total = left * a + attrs.addend + right * b
    value = element.bind(total >> attrs.shift)
    return Cast(DType(attrs.dtype), clamp(value, attrs.low, attrs.high))


def emit_sum_linear(
    b: GraphBuilder,
    inputs: Sequence[str],
    table: Int64Array,
    reals: tuple[float, float],
    bounds: tuple[int, int],
    dtype: DType,
) -> str | None:
    """The sum whose results for every pair of operands ``table`` holds; None if there is none.

    ``table[i, k]`` is for the i-th value of the first operand's type and the k-th of the second's.
    ``reals`` are the weights that it stands for.
    """
    values = [
        np.arange(t.minimum, t.maximum + 1, dtype=np.int64)
        for t in (b.type_of(name).dtype for name in inputs)
    ]
    left, right = values[0][:, None], values[1][None]
    for weights, shift in _candidates(reals, values):
        addend = _addend(left * weights[0] + right * weights[1], table, bounds, shift)
        if addend is None:
            continue
        attrs = SumLinearAttrs(dtype.value, *bounds, weights, addend, shift)
        partial, total = left * weights[0] + addend, _sum(left, right, attrs)
        if max(np.abs(partial).max(), np.abs(total).max()) <= LIMIT:
            return b.emit("sum_linear", inputs, attrs)
    return None


def _candidates(
    reals: tuple[float, float], values: list[Int64Array]
) -> Iterator[tuple[tuple[int, int], int]]:
    """Weights and shifts, the finest and nearest first."""
    reach = sum(abs(r) * int(np.abs(v).max()) for r, v in zip(reals, values, strict=True))
    finest = min(int(np.floor(np.log2(LIMIT / (reach + MARGIN)))), MOST_SHIFT)
    steps = sorted(product(range(-REACH, REACH + 1), repeat=2), key=lambda d: sum(map(abs, d)))
    for shift in range(finest, max(finest - SHIFTS, 0), -1):
        a, b = (round(real * (1 << shift)) for real in reals)
        yield from (((a + i, b + k), shift) for i, k in steps)


def _addend(
    weighted: Int64Array, table: Int64Array, bounds: tuple[int, int], shift: int
) -> int | None:
    """An addend that brings every weighted sum to its result, as round as possible."""
    low, high = bounds
    # A result at a bound may lie beyond it before it is clamped.
    start = (table << shift) - weighted
    least = int(start[table > low].max(initial=-LIMIT))
    most = int(start[table < high].min(initial=LIMIT)) + (1 << shift) - 1
    for bits in range(30, -1, -1):
        candidate = -(-least >> bits) << bits
        if candidate <= most:
            return candidate
    return None


def _ranges(operands: Operands, result: TensorType, attrs: SumLinearAttrs) -> Interval:
    return at_corners(operands, lambda left, right: _reference((left, right), attrs)[0])


OP = Op(
    "sum_linear",
    SumLinearAttrs,
    _infer,
    reference=_reference,
    compute=_compute,
    elementwise=True,
    operands=("left", "right"),
    ranges=_ranges,
)
