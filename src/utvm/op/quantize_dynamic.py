"""``quantize_dynamic``: floats quantized by the range that they have at run time, batch by batch.

In: x [N, ...]. Out: the steps, in the shape of x, and the scale of each batch [N, 1, ...]. The
arithmetic is that of LiteRT's hybrid kernels as they run on x86-64, float or double as there, so
that equal inputs give equal steps. Symmetric: int8 in -127..127. Otherwise the zero point is
subtracted from the steps already: int16 in -255..255, and padding is zero.
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
    loop,
    maximum,
    minimum,
)
from utvm.op.base import Arrays, Op, Types, expect, expect_float32, expect_inputs
from utvm.op.definition import Definition, register
from utvm.op.fixed_point import round_half_away

F32 = DType.FLOAT32
ZERO, ONE = Imm(0.0, F32), Imm(1.0, F32)
LOW, HIGH = Var("low", F32), Var("high", F32)
SYMMETRIC_STEPS, AFFINE_STEPS = 127, 255


@dataclass(frozen=True)
class QuantizeDynamicAttrs(Attrs):
    """``symmetric``: the zero point is 0. ``weight_scale`` multiplies the scales that come out."""

    symmetric: bool = True
    weight_scale: float = 1.0

    @property
    def dtype(self) -> DType:
        """The type of the steps."""
        return DType.INT8 if self.symmetric else DType.INT16


def _infer(inputs: Types, attrs: QuantizeDynamicAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    x = inputs[0]
    expect(x.dtype.is_float and len(x.shape) > 0, "floats are quantized by batches",
           "float32 of rank 1 or more", x)  # fmt: skip
    expect_float32("the scale of the weights", attrs.weight_scale)
    scales = (x.shape[0],) + (1,) * (len(x.shape) - 1)
    return TensorType(x.shape, attrs.dtype), TensorType(scales, F32)


def _reference(inputs: Arrays, attrs: QuantizeDynamicAttrs) -> tuple[np.ndarray, ...]:
    x = inputs[0].astype(np.float32)
    rows = x.reshape(x.shape[0], -1)
    low, high = rows.min(axis=1, initial=0.0), rows.max(axis=1, initial=0.0)
    with np.errstate(all="ignore"):
        if attrs.symmetric:
            span, steps = np.maximum(high, -low), np.float32(SYMMETRIC_STEPS)
            inverse = np.where(span == 0, np.float32(0), steps / span)
            zero = np.zeros(len(rows), np.int64)
            least = np.full(len(rows), -SYMMETRIC_STEPS)
        else:
            span, steps = high - low, np.float32(AFFINE_STEPS)
            scale = span / steps
            inverse = np.where(scale == 0, np.float32(0), np.float32(1) / scale)
            zero = _zero_points(low.astype(np.float64), high.astype(np.float64), span)
            least = DType.INT8.minimum - zero
        scale = np.where(span == 0, np.float32(1), span / steps)
        scaled = rows * inverse[:, None]
    limited = np.clip(
        np.where(np.isnan(scaled), least[:, None], scaled),
        least[:, None],
        (DType.INT8.maximum - zero)[:, None],
    ).astype(np.float32)
    whole = np.trunc(limited + np.where(limited < 0, np.float32(-0.5), np.float32(0.5)))
    factors = scale * np.float32(attrs.weight_scale)
    return (
        whole.reshape(x.shape).astype(attrs.dtype.numpy),
        factors.reshape((-1,) + (1,) * (x.ndim - 1)).astype(np.float32),
    )


def _zero_points(low: np.ndarray, high: np.ndarray, span: np.ndarray) -> np.ndarray:
    """The intrinsic ``dynamic_zero_point``; in float64 except for the range, which is rounded."""
    least, most = DType.INT8.minimum, DType.INT8.maximum
    scale = span.astype(np.float64) / AFFINE_STEPS
    by_low = np.abs(least) + np.abs(low / scale) < most + np.abs(high / scale)
    zero = np.where(by_low, least - low / scale, most - high / scale)
    limited = np.clip(np.nan_to_num(zero, nan=least), least, most)
    return np.where(span == 0, 0, round_half_away(limited)).astype(np.int64)


def _define(d: Definition) -> tuple[Stmt, ...]:
    """Per batch n: the range (loop r), the parameters, the steps (loop i)."""
    attrs: QuantizeDynamicAttrs = d.attrs
    batches, *rest = d.output.shape
    size = prod(rest)
    x = d.buffers[0].view(batches, size)
    n, i = Var("n"), Var("i")
    factor: Expr = Var("scale", F32)
    if attrs.weight_scale != 1.0:
        factor = factor * Imm(float(attrs.weight_scale), F32)
    body = (
        *_find_range(size, Load(x, (n, Var("r")))),
        *(_symmetric() if attrs.symmetric else _affine()),
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
        Let(LOW, Load(least)),
        Let(HIGH, Load(most)),
    )


def _symmetric() -> tuple[Stmt, ...]:
    """``scale`` and ``inverse`` of the larger side of the range, and the bounds of the steps."""
    span, steps = Var("span", F32), Imm(float(SYMMETRIC_STEPS), F32)
    empty = Binary("==", span, ZERO)
    return (
        Let(span, maximum(HIGH, ZERO - LOW)),
        Let(Var("scale", F32), Select(empty, ONE, Binary("/", span, steps))),
        Let(Var("inverse", F32), Select(empty, ZERO, Binary("/", steps, span))),
    )


def _affine() -> tuple[Stmt, ...]:
    """The same for the whole range; the steps' bounds follow from the zero point."""
    span, width, zero = Var("span", F32), Var("width", F32), Var("zero")
    least, most = DType.INT8.minimum, DType.INT8.maximum
    return (
        Let(span, HIGH - LOW),
        Let(width, Binary("/", span, Imm(float(AFFINE_STEPS), F32))),
        Let(Var("scale", F32), Select(Binary("==", span, ZERO), ONE, width)),
        Let(
            Var("inverse", F32),
            Select(Binary("==", width, ZERO), ZERO, Binary("/", ONE, width)),
        ),
        Let(zero, Call("dynamic_zero_point", (LOW, HIGH), INT32)),
        Let(Var("lowest", F32), Cast(F32, Imm(least) - zero)),
        Let(Var("highest", F32), Cast(F32, Imm(most) - zero)),
    )


def _steps(d: Definition, element: Expr, shape: tuple[int, int]) -> tuple[Stmt, ...]:
    """One element: scaled, limited (what is not a number, too), rounded.

    LiteRT adds one half and truncates, so that the float below one half becomes 1.
    """
    attrs: QuantizeDynamicAttrs = d.attrs
    low: Expr = Imm(-float(SYMMETRIC_STEPS), F32) if attrs.symmetric else Var("lowest", F32)
    high: Expr = Imm(float(SYMMETRIC_STEPS), F32) if attrs.symmetric else Var("highest", F32)
    limited = Var("limited", F32)
    half = Select(Binary("<", limited, ZERO), Imm(-0.5, F32), Imm(0.5, F32))
    return (
        Let(limited, minimum(maximum(element * Var("inverse", F32), low), high)),
        *d.store((Var("n"), Var("i")), Cast(attrs.dtype, Cast(INT32, limited + half)), shape=shape),
    )


OP = Op(
    "quantize_dynamic",
    QuantizeDynamicAttrs,
    _infer,
    reference=_reference,
    define=_define,
    operands=("x",),
)
