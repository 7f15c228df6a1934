"""``arg_max`` and ``arg_min``: the position of the largest or smallest element along one axis.

The first one counts where several are equal. The result is int32 or int64 and has no such axis.
Quantization plays no part: integers compare as the numbers they stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import (
    Alloc,
    Binary,
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
    maximum,
    minimum,
)
from utvm.ir.rewrite import substitute_expr
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.definition import Definition, cast, grid, register
from utvm.op.reduce import ReduceAttrs, grouped_axes, reduced_shape


@dataclass(frozen=True)
class ArgMaxAttrs(Attrs):
    """``axis``: counted from the front. ``dtype``: the result's type, int32 or int64."""

    axis: int
    dtype: str = "int32"


def _infer(inputs: Types, attrs: ArgMaxAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    expect(attrs.dtype in ("int32", "int64"), "positions are integers", "int32 or int64",
           attrs.dtype)  # fmt: skip
    shape = reduced_shape(inputs[0].shape, ReduceAttrs((attrs.axis,)))
    return (TensorType(shape, DType(attrs.dtype)),)


def _define(compare: str, best_of: Callable[[Expr, Expr], Expr], d: Definition) -> tuple[Stmt, ...]:
    """Two registers: the best element so far and where it stands."""
    attrs: ArgMaxAttrs = d.attrs
    shape = d.buffers[0].shape
    axes = grouped_axes(shape, ReduceAttrs((attrs.axis,)), d.output.shape, d.reshapeable)
    dtype = d.buffers[0].dtype
    wide = DType.INT32 if not dtype.is_float and dtype.bits < 32 else dtype
    best, at = register("best", wide), register("at", DType.INT32)
    r, x = Var("r"), Var("element", wide)
    load = Load(d.buffers[0].view(*axes.groups), axes.index)
    better = Binary(compare, x, Load(best))
    body: tuple[Stmt, ...] = (
        Alloc(best),
        Store(best, (), cast(substitute_expr(load, {"r": Imm(0)}), wide)),
        Alloc(at),
        Store(at, (), Imm(0)),
    )
    if axes.reduced:
        step = (
            Let(x, cast(load, wide)),
            Store(at, (), Select(better, r, Load(at))),
            Store(best, (), best_of(Load(best), x)),
        )
        body += (For(r, Imm(1), Imm(axes.reduced[0][1]), step),)
    value: Expr = Load(at)
    if d.output.dtype is not DType.INT32:
        value = Cast(d.output.dtype, value)
    body += d.store(axes.result, value, shape=axes.view)
    names, extents = tuple(n for n, _ in axes.kept), tuple(e for _, e in axes.kept)
    return grid(names, extents, body)


def _op(
    name: str,
    reference: Callable[..., np.ndarray],
    compare: str,
    best_of: Callable[[Expr, Expr], Expr],
) -> Op:
    def evaluate(inputs: Arrays, attrs: ArgMaxAttrs) -> tuple[np.ndarray, ...]:
        return (reference(inputs[0], axis=attrs.axis).astype(DType(attrs.dtype).numpy),)

    def define(d: Definition) -> tuple[Stmt, ...]:
        return _define(compare, best_of, d)

    return Op(name, ArgMaxAttrs, _infer, reference=evaluate, define=define, operands=("x",))


ARG_MAX = _op("arg_max", np.argmax, ">", maximum)
ARG_MIN = _op("arg_min", np.argmin, "<", minimum)
