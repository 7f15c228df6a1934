"""The integers that each value of a plain graph can hold, channel by channel; an analysis.

In: a graph after ``legalize``. Out: an ``Interval`` for every integer value, from the operators'
own rules (``Op.ranges``) in order of execution; where an operator has none, all that the type
holds. An elementwise node whose operands are all constant in a channel is computed there, whatever
it is. Floats have no interval: nothing is concluded from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from utvm.ir.graph import Graph, Node, is_quantized
from utvm.op.base import Op
from utvm.op.fixed_point import int64_of
from utvm.op.ranges import Interval, Operand, interval_of, whole


def value_ranges(graph: Graph, find_op: Callable[[str], Op]) -> dict[str, Interval]:
    """The intervals by value name; values of floats are absent."""
    known: dict[str, Interval] = {}
    for name, data in graph.constants.items():
        if data.dtype.kind in "iub":
            known[name] = interval_of(data)
    for name in graph.inputs:
        if not graph.values[name].dtype.is_float:
            known[name] = whole(graph.values[name].dtype)
    for node in graph.nodes:
        op = find_op(node.op)
        interval = node_range(graph, node, op, known)
        for value in graph.outputs_of(node):
            if not value.dtype.is_float:
                known[value.name] = interval or whole(value.dtype)
    return known


def node_range(graph: Graph, node: Node, op: Op, known: Mapping[str, Interval]) -> Interval | None:
    """What the only result of a node can hold; None if nothing is known of it."""
    if len(node.outputs) != 1 or is_quantized(graph, node):
        return None
    if any(name not in known for name in (*node.inputs[:1], *node.inputs[1:])):
        return None
    operands = [
        Operand(graph.values[name].type, known[name], graph.constants.get(name))
        for name in node.inputs
    ]
    result = graph.outputs_of(node)[0].type
    if result.dtype.is_float:
        return None
    interval = op.ranges(operands, result, node.attrs) if op.ranges is not None else None
    if not op.elementwise:
        return interval
    return _with_constants(op, node, operands, interval or whole(result.dtype))


def _with_constants(op: Op, node: Node, operands: list[Operand], interval: Interval) -> Interval:
    """The interval, replaced by the computed result in channels where all operands are known."""
    moving = [x.interval for i, x in enumerate(operands) if i not in op.tables]
    fixed = [ends.low == ends.high for ends in moving]
    is_known = np.logical_and.reduce(np.broadcast_arrays(*fixed))
    tables = [x.data for i, x in enumerate(operands) if i in op.tables]
    if op.reference is None or not is_known.any() or any(data is None for data in tables):
        return interval
    arrays = [
        x.data if i in op.tables else x.interval.low.astype(x.type.dtype.numpy)
        for i, x in enumerate(operands)
    ]
    with np.errstate(all="ignore"):
        (results,) = op.reference([data for data in arrays if data is not None], node.attrs)
    computed = int64_of(results)
    return Interval(
        np.where(is_known, computed, interval.low), np.where(is_known, computed, interval.high)
    )
