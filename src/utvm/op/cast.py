"""``cast``: conversion of every element to another type, as in C.

Integers wrap to a narrower type, floats truncate towards zero (and saturate, where C leaves it
undefined). With ``saturate``, integers are limited to the range of the new type first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import Binary, Cast, Expr, Imm, clamp
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.definition import Element
from utvm.op.ranges import Interval, Operands


@dataclass(frozen=True)
class CastAttrs(Attrs):
    """``dtype``: the name of the new element type."""

    dtype: str
    saturate: bool = False


def _infer(inputs: Types, attrs: CastAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    names = [d.value for d in DType]
    expect(attrs.dtype in names, "unknown element type", ", ".join(names), attrs.dtype)
    return (TensorType(inputs[0].shape, DType(attrs.dtype)),)


def _bounds(source: DType, target: DType) -> tuple[int, int]:
    """The range of ``target`` in values that ``source`` can hold."""
    if source.is_float:
        largest = target.maximum
        exact = largest if target.bits <= 16 else largest - (largest >> 24)
        return target.minimum, exact
    return max(source.minimum, target.minimum), min(source.maximum, target.maximum)


def _reference(inputs: Arrays, attrs: CastAttrs) -> tuple[np.ndarray, ...]:
    x, target = inputs[0], DType(attrs.dtype)
    if target is DType.BOOL:
        return (x != 0,)
    if target.is_integer and (x.dtype.kind == "f" or attrs.saturate):
        low, high = _bounds(DType(x.dtype.name), target)
        x = np.clip(np.nan_to_num(np.trunc(x)) if x.dtype.kind == "f" else x, low, high)
    return (x.astype(target.numpy),)


def _compute(element: Element) -> Expr:
    value, target = element.arg(0), DType(element.attrs.dtype)
    source = value.dtype
    if target is DType.BOOL:
        zero = Imm(0.0, source) if source.is_float else Imm(0, source)
        return Cast(target, Binary("!=", value, zero))
    if target.is_integer and source.is_float:
        low, high = _bounds(source, target)
        value = clamp(value, float(low), float(high))
    elif target.is_integer and element.attrs.saturate:
        value = clamp(value, *_bounds(source, target))
    return value if source is target else Cast(target, value)


def _ranges(operands: Operands, result: TensorType, attrs: CastAttrs) -> Interval | None:
    source, x = operands[0].type.dtype, operands[0].interval
    if source.is_float or result.dtype is DType.BOOL:
        return None
    if attrs.saturate:
        return x.limited(*_bounds(source, result.dtype))
    return x if x.fits(result.dtype) else None


OP = Op(
    "cast",
    CastAttrs,
    _infer,
    reference=_reference,
    compute=_compute,
    elementwise=True,
    ranges=_ranges,
)
