"""``gather``: slices along one axis, chosen by an operand of indices.

The result has the indices' axes in place of the gathered one. Constant indices must lie in the
axis. Indices known only at run time are limited to it, so that nothing outside is ever read (TFLite
refuses such an invocation).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import INT32, Expr, Let, Load, Stmt, Var, clamp
from utvm.op.base import Arrays, Constants, Op, Types, expect, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.definition import Definition, cast, grid
from utvm.support.errors import ModelError


@dataclass(frozen=True)
class GatherAttrs(Attrs):
    """``axis`` of the first operand, counted from the front."""

    axis: int


def _infer(inputs: Types, attrs: GatherAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 2)
    x, indices = inputs
    rank = len(x.shape)
    expect(0 <= attrs.axis < rank, "the axis does not exist", f"0 to {rank - 1}", attrs.axis)
    expect(indices.dtype in (DType.INT32, DType.INT64, DType.INT16), "wrong type of indices",
           "int16, int32 or int64", indices)  # fmt: skip
    shape = (*x.shape[: attrs.axis], *indices.shape, *x.shape[attrs.axis + 1 :])
    return (TensorType(shape, x.dtype),)


def _reference(inputs: Arrays, attrs: GatherAttrs) -> tuple[np.ndarray, ...]:
    x, indices = inputs
    inside = np.clip(indices, 0, x.shape[attrs.axis] - 1)
    return (np.take(x, inside, axis=attrs.axis),)


def _define(d: Definition) -> tuple[Stmt, ...]:
    """Loops over the axes in front, over the indices, over the axes behind."""
    axis: int = d.attrs.axis
    x, indices = d.buffers
    front, behind = x.shape[:axis], x.shape[axis + 1 :]
    chosen = indices.shape
    if d.reshapeable:
        front, chosen, behind = (prod(front),), (prod(chosen),), (prod(behind),)
    outer, middle, inner = (
        tuple(Var(f"{prefix}{i}") for i in range(len(shape)))
        for prefix, shape in (("n", front), ("g", chosen), ("i", behind))
    )
    at = Var("at")
    source = x.view(*front, x.shape[axis], *behind)
    value = Load(source, (*outer, at, *inner))
    store = d.store((*outer, *middle, *inner), value, shape=(*front, *chosen, *behind))
    index: Expr = Load(indices.view(*chosen), middle)
    if d.constants[1] is None:
        index = clamp(index, 0, x.shape[axis] - 1)
    body = (Let(at, cast(index, INT32)), *grid(_names(inner), behind, store))
    return grid(_names((*outer, *middle)), (*front, *chosen), body)


def _names(variables: tuple[Var, ...]) -> tuple[str, ...]:
    return tuple(var.name for var in variables)


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    """The same node; quantized ones are checked, too."""
    types = [b.type_of(name) for name in node.inputs]
    _check(types, [b.constant_of(name) for name in node.inputs], node.attrs)
    return None


def _check(inputs: Types, constants: Constants, attrs: Any) -> None:
    size = inputs[0].shape[attrs.axis]
    data = constants[1]
    if data is not None and data.size and not 0 <= data.min() <= data.max() < size:
        raise ModelError("an index is outside its axis", expected=f"0 to {size - 1}",
                         found=f"{data.min()} to {data.max()}")  # fmt: skip


OP = Op(
    "gather",
    GatherAttrs,
    _infer,
    _check,
    reference=_reference,
    define=_define,
    legalize=_legalize,
    operands=("x", "indices"),
)
