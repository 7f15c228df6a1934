"""``clip``: every element limited to [low, high].

The plain form of all activations of the ReLU family. Bounds beyond the element type's own range
cost nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import Expr, maximum, minimum
from utvm.op.base import Arrays, Op, Types, expect, expect_float32
from utvm.op.definition import Element
from utvm.op.elementwise import infer_unary
from utvm.op.ranges import Interval, Operands


@dataclass(frozen=True)
class ClipAttrs(Attrs):
    """Inclusive bounds; an infinite bound is no bound."""

    low: float = -math.inf
    high: float = math.inf


def _infer(inputs: Types, attrs: ClipAttrs) -> tuple[TensorType, ...]:
    (x,) = infer_unary(inputs, attrs)
    bounds = (attrs.low, attrs.high)
    bounded = attrs.low < math.inf and attrs.high > -math.inf
    expect(bounded, "a bound is not a number or lets nothing through", found=bounds)
    if x.dtype.is_integer:
        whole = all(math.isinf(bound) or bound == int(bound) for bound in bounds)
        expect(whole, "bounds of integers are whole numbers", found=bounds)
        reached = attrs.low <= x.dtype.maximum and attrs.high >= x.dtype.minimum
        expect(reached, "a bound lies beyond all elements", str(x.dtype.value), bounds)
    else:
        expect(x.dtype.is_float, "truth values are not limited", "numbers", x)
        for bound in bounds:
            if math.isfinite(bound):
                expect_float32("a bound", bound)
    return (x,)


def _limits(attrs: ClipAttrs, dtype: DType) -> tuple[int, int]:
    """The bounds as integers inside the type."""
    low = dtype.minimum if attrs.low <= dtype.minimum else int(attrs.low)
    high = dtype.maximum if attrs.high >= dtype.maximum else int(attrs.high)
    return low, high


def _reference(inputs: Arrays, attrs: ClipAttrs) -> tuple[np.ndarray, ...]:
    x = inputs[0]
    if x.dtype.kind == "f":
        return (np.clip(x, np.float32(attrs.low), np.float32(attrs.high)),)
    return (np.clip(x, *_limits(attrs, DType(x.dtype.name))),)


def _compute(element: Element) -> Expr:
    value, attrs = element.arg(0), element.attrs
    dtype = value.dtype
    number = float if dtype.is_float else int
    if not math.isinf(attrs.low) and (dtype.is_float or attrs.low > dtype.minimum):
        value = maximum(value, number(attrs.low))
    if not math.isinf(attrs.high) and (dtype.is_float or attrs.high < dtype.maximum):
        value = minimum(value, number(attrs.high))
    return value


def _ranges(operands: Operands, result: TensorType, attrs: ClipAttrs) -> Interval:
    return operands[0].interval.limited(*_limits(attrs, result.dtype))


OP = Op(
    "clip",
    ClipAttrs,
    _infer,
    reference=_reference,
    compute=_compute,
    elementwise=True,
    ranges=_ranges,
)
