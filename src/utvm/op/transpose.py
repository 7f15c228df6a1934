"""``transpose``: axes in another order.

Axes that stay neighbours are moved as one, so that what stays contiguous is copied in one piece. A
permutation that moves only axes of one element is a ``reshape``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import Load, Stmt, Var
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.channels import Channels, same_channels
from utvm.op.definition import Definition, grid
from utvm.op.ranges import Interval, Operands
from utvm.op.reshape import ReshapeAttrs


@dataclass(frozen=True)
class TransposeAttrs(Attrs):
    """``permutation[i]`` is the operand's axis that becomes axis i."""

    permutation: tuple[int, ...]


def _infer(inputs: Types, attrs: TransposeAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    x = inputs[0]
    axes = tuple(range(len(x.shape)))
    expect(tuple(sorted(attrs.permutation)) == axes, "not a permutation of the axes",
           str(list(axes)), list(attrs.permutation))  # fmt: skip
    return (TensorType(tuple(x.shape[i] for i in attrs.permutation), x.dtype),)


def _reference(inputs: Arrays, attrs: TransposeAttrs) -> tuple[np.ndarray, ...]:
    return (inputs[0].transpose(attrs.permutation),)


def _groups(shape: tuple[int, ...], permutation: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The operand's axes in the result's order, neighbours together; none of one element."""
    kept = [axis for axis in permutation if shape[axis] > 1]
    rank = {axis: i for i, axis in enumerate(sorted(kept))}
    groups: list[tuple[int, ...]] = []
    for axis in kept:
        if groups and rank[axis] == rank[groups[-1][-1]] + 1:
            groups[-1] = (*groups[-1], axis)
        else:
            groups.append((axis,))
    return groups


def _define(d: Definition) -> tuple[Stmt, ...]:
    shape = d.buffers[0].shape
    permutation: tuple[int, ...] = d.attrs.permutation
    groups: list[tuple[int, ...]] = [(axis,) for axis in permutation]
    if d.reshapeable:
        groups = _groups(shape, permutation)
    extents = tuple(prod(shape[axis] for axis in group) for group in groups)
    order = sorted(range(len(groups)), key=lambda i: groups[i])
    variables = tuple(Var(f"i{i}") for i in range(len(groups)))
    source = d.buffers[0].view(*(extents[i] for i in order))
    value = Load(source, tuple(variables[i] for i in order))
    body = d.store(variables, value, shape=extents)
    return grid(tuple(var.name for var in variables), extents, body)


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    attrs: TransposeAttrs = node.attrs  # type: ignore[assignment]
    if len(_groups(b.type_of(node.inputs[0]).shape, attrs.permutation)) > 1:
        return None
    shape = b.type_of(node.outputs[0]).shape
    return (b.emit("reshape", node.inputs, ReshapeAttrs(shape), node.name),)


def _keeps_channels(attrs: TransposeAttrs) -> bool:
    rank = len(attrs.permutation)
    return rank > 0 and attrs.permutation[-1] == rank - 1


def _ranges(operands: Operands, result: TensorType, attrs: TransposeAttrs) -> Interval:
    x = operands[0].interval
    return x if _keeps_channels(attrs) else x.hull


def _channels(inputs: Types, result: TensorType, attrs: TransposeAttrs) -> Channels | None:
    return same_channels(inputs, result, attrs) if _keeps_channels(attrs) else None


OP = Op(
    "transpose",
    TransposeAttrs,
    _infer,
    reference=_reference,
    define=_define,
    legalize=_legalize,
    ranges=_ranges,
    channels=_channels,
)
