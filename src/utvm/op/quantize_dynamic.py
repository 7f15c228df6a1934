"""``quantize_dynamic``: floats quantized by the range that they have at run time, batch by batch.

In: x [N, ...]. Out: the steps, in the shape of x, and the scale of each batch [N, 1, ...]. The
arithmetic is that of TFLite's hybrid kernels, float or double as there, so that equal inputs give
equal steps. Symmetric: int8 in -127..127. Otherwise the zero point is subtracted from the steps
already, which makes them int16 in -255..255 and makes padding zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import (
    INT32,
    Alloc,
    Binary,
    Call,
    Cast,
    Expr,
    For,
    Imm,
    Let,
    Load,
    Select,
    Stmt,
    Store,
    Var,
    clamp,
    loop,
    maximum,
    minimum,
)
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.definition import Definition, register
from utvm.op.fixed_point import round_half_away
from utvm.op.quantize import BELOW_HALF

F32 = DType.FLOAT32
ZERO, ONE = Imm(0.0, F32), Imm(1.0, F32)
SYMMETRIC_STEPS = 127


@dataclass(frozen=True)
class QuantizeDynamicAttrs(Attrs):
    """``symmetric``: the zero point is 0. ``weight_scale`` multiplies the scales that come out."""

    symmetric: bool = True
    weight_scale: float = 1.0

    @property
    def steps(self) -> tuple[int, int]:
        """The least and the greatest step before the zero point is subtracted."""
        return (-SYMMETRIC_STEPS if self.symmetric else DType.INT8.minimum), DType.INT8.maximum

    @property
    def dtype(self) -> DType:
        return DType.INT8 if self.symmetric else DType.INT16


def _infer(inputs: Types, attrs: QuantizeDynamicAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    x = inputs[0]
    expect(x.dtype.is_float and len(x.shape) > 0, "floats are quantized by batches",
           "float32 of rank 1 or more", x)  # fmt: skip
    scales = (x.shape[0],) + (1,) * (len(x.shape) - 1)
    return TensorType(x.shape, attrs.dtype), TensorType(scales, F32)


def _reference(inputs: Arrays, attrs: QuantizeDynamicAttrs) -> tuple[np.ndarray, ...]:
    x = inputs[0].astype(np.float32)
    rows = x.reshape(x.shape[0], -1)
    low = np.minimum(rows.min(axis=1, initial=0.0), np.float32(0))
    high = np.maximum(rows.max(axis=1, initial=0.0), np.float32(0))
    one = np.float32(1)
    with np.errstate(all="ignore"):
        if attrs.symmetric:
            most = np.maximum(high, -low)
            scale = np.where(most == 0, one, most / np.float32(SYMMETRIC_STEPS))
            inverse = np.where(most == 0, np.float32(0), np.float32(SYMMETRIC_STEPS) / most)
            zero = np.zeros(len(rows), np.int32)
        else:
            scale, zero = _affine_range(low.astype(np.float64), high.astype(np.float64))
            inverse = one / scale
        moved = rows * inverse[:, None] + zero[:, None].astype(np.float32)
    least, most_steps = attrs.steps
    limited = np.clip(np.nan_to_num(moved, nan=least), least, most_steps)
    steps = round_half_away(limited).astype(np.int32) - zero[:, None]
    factors = scale * np.float32(attrs.weight_scale)
    result = steps.reshape(x.shape).astype(attrs.dtype.numpy)
    return result, factors.reshape((-1,) + (1,) * (x.ndim - 1)).astype(np.float32)


def _affine_range(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale (float32) and zero point for ranges around 0, computed in float64."""
    least, most = DType.INT8.minimum, DType.INT8.maximum
    scale = (high - low) / (most - least)
    by_low = np.abs(least) + np.abs(low / scale) < most + np.abs(high / scale)
    zero = np.where(by_low, least - low / scale, most - high / scale)
    limited = np.clip(np.nan_to_num(zero, nan=least), least, most)
    empty = low == high
    return (
        np.where(empty, 1.0, scale).astype(np.float32),
        np.where(empty, 0, round_half_away(limited)).astype(np.int32),
    )


def _define(d: Definition) -> tuple[Stmt, ...]:
    """Per batch n: the range (loop r), the parameters, the steps (loop i)."""
    attrs: QuantizeDynamicAttrs = d.attrs
    batches, *rest = d.output.shape
    size = prod(rest)
    x = d.buffers[0].view(batches, size)
    n, i = Var("n"), Var("i")
    parameters = _symmetric() if attrs.symmetric else _affine()
    factor: Expr = Var("scale", F32)
    if attrs.weight_scale != 1.0:
        factor = factor * Imm(float(attrs.weight_scale), F32)
    body = (
        *_find_range(x.shape[1], Load(x, (n, Var("r")))),
        *parameters,
        *d.store((n,), factor, output=1, shape=(batches,)),
        loop(i, size, *_steps(d, Load(x, (n, i)), (batches, size)), parallel=True),
    )
    return (loop(n, batches, *body),)


def _find_range(size: int, element: Expr) -> tuple[Stmt, ...]:
    """``low`` <= 0 and ``high`` >= 0: the range of the elements r with 0 added to them."""
    least, most = register("least", F32), register("most", F32)
    value = Var("value", F32)
    search = For(
        Var("r"),
        Imm(0),
        Imm(size),
        (
            Let(value, element),
            Store(least, (), minimum(Load(least), value)),
            Store(most, (), maximum(Load(most), value)),
        ),
    )
    return (
        Alloc(least),
        Store(least, (), ZERO),
        Alloc(most),
        Store(most, (), ZERO),
        search,
        Let(Var("low", F32), Load(least)),
        Let(Var("high", F32), Load(most)),
    )


def _symmetric() -> tuple[Stmt, ...]:
    """``scale`` and ``inverse`` of the larger side of the range."""
    low, high, span = Var("low", F32), Var("high", F32), Var("span", F32)
    steps = Imm(float(SYMMETRIC_STEPS), F32)
    empty = Binary("==", span, ZERO)
    return (
        Let(span, maximum(high, ZERO - low)),
        Let(Var("scale", F32), Select(empty, ONE, Binary("/", span, steps))),
        Let(Var("inverse", F32), Select(empty, ZERO, Binary("/", steps, span))),
    )


def _affine() -> tuple[Stmt, ...]:
    """``scale``, ``inverse`` and ``zero``, as integer and as float."""
    ends = (Var("low", F32), Var("high", F32))
    return (
        Let(Var("scale", F32), Call("dynamic_scale", ends, F32)),
        Let(Var("zero"), Call("dynamic_zero_point", ends, INT32)),
        Let(Var("inverse", F32), Binary("/", ONE, Var("scale", F32))),
        Let(Var("origin", F32), Cast(F32, Var("zero"))),
    )


def _steps(d: Definition, element: Expr, shape: tuple[int, int]) -> tuple[Stmt, ...]:
    """One element: scaled, limited, rounded with halves away from zero, less the zero point."""
    attrs: QuantizeDynamicAttrs = d.attrs
    low, high = attrs.steps
    scaled: Expr = element * Var("inverse", F32)
    if not attrs.symmetric:
        scaled = Var("origin", F32) + scaled
    limited = Var("limited", F32)
    half = Select(Binary("<", limited, ZERO), Imm(-BELOW_HALF, F32), Imm(BELOW_HALF, F32))
    steps: Expr = Cast(INT32, limited + half)
    if not attrs.symmetric:
        steps = steps - Var("zero")
    return (
        Let(limited, clamp(scaled, float(low), float(high))),
        *d.store((Var("n"), Var("i")), Cast(attrs.dtype, steps), shape=shape),
    )


OP = Op(
    "quantize_dynamic",
    QuantizeDynamicAttrs,
    _infer,
    reference=_reference,
    define=_define,
    operands=("x",),
)
