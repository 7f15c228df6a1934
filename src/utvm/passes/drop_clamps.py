"""drop-clamps: bounds that no value reaches go.

In: a plain graph with folded constants. By the intervals of ``value_ranges``: a clip, a minimum or
a maximum that lets everything through goes; a clip loses the one bound that never acts; a
saturating cast of what fits becomes a plain one; a bound of a rescale that is never reached becomes
the type's own, so that both bounds together are one saturation.

    %a: uint8[1,8] = clip(%x) {low=3.0, high=90.0}
    %b: int8[1,8] = cast(%a) {dtype="int8", saturate=true}
    ---
    %a: uint8[1,8] = clip(%x) {low=3.0, high=90.0}
    %b: int8[1,8] = cast(%a) {dtype="int8"}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Graph, Node
from utvm.op.base import Op
from utvm.op.cast import CastAttrs
from utvm.op.clip import ClipAttrs
from utvm.op.ranges import Interval
from utvm.op.requantize import RequantizeAttrs
from utvm.op.requantize_double import RequantizeDoubleAttrs
from utvm.op.requantize_linear import RequantizeLinearAttrs
from utvm.op.requantize_long import RequantizeLongAttrs
from utvm.op.sum_linear import SumLinearAttrs
from utvm.passes.replace_nodes import replace_nodes
from utvm.passes.value_ranges import node_range, value_ranges

Ranges = Mapping[str, Interval]


def drop_clamps(graph: Graph, find_op: Callable[[str], Op]) -> Graph:
    """The graph without bounds that cannot act."""
    ranges = value_ranges(graph, find_op)

    def rule(node: Node, made: Mapping[str, Node]) -> Node | str:
        if any(name not in ranges for name in (*node.inputs, *node.outputs)):
            return node
        if node.op in ("minimum", "maximum"):
            return _lesser_or_greater(graph, node, ranges)
        if isinstance(node.attrs, ClipAttrs):
            return _clip(node, node.attrs, ranges[node.inputs[0]])
        attrs = _bounds_of_type(graph, node, find_op(node.op), ranges)
        return replace(node, attrs=attrs) if attrs != node.attrs else node

    return replace_nodes(graph, rule)


def _lesser_or_greater(graph: Graph, node: Node, ranges: Ranges) -> Node | str:
    """The operand that is always chosen, if it has the result's shape."""
    result = graph.outputs_of(node)[0].type
    a, b = node.inputs
    if node.op == "maximum":
        a, b = b, a
    # Now a is the result where a <= b in a minimum, where b <= a in a maximum.
    for chosen, other in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        low, high = (chosen, other) if node.op == "minimum" else (other, chosen)
        always = ranges[low].high <= ranges[high].low
        if graph.values[chosen].type == result and always.all():
            return chosen
    return node


def _clip(node: Node, attrs: ClipAttrs, x: Interval) -> Node | str:
    low = attrs.low if attrs.low > x.low.min() else -math.inf
    high = attrs.high if attrs.high < x.high.max() else math.inf
    if math.isinf(low) and math.isinf(high):
        return node.inputs[0]
    if (low, high) == (attrs.low, attrs.high):
        return node
    return replace(node, attrs=ClipAttrs(low, high))


def _bounds_of_type(graph: Graph, node: Node, op: Op, ranges: Ranges) -> Attrs:
    """Attributes with the type's bounds in place of those that are never reached."""
    attrs = node.attrs
    match attrs:
        case CastAttrs(saturate=True):
            dtype = DType(attrs.dtype)
            fits = dtype.is_integer and ranges[node.inputs[0]].fits(dtype)
            return replace(attrs, saturate=False) if fits else attrs
        case (
            RequantizeAttrs()
            | RequantizeLinearAttrs()
            | RequantizeLongAttrs()
            | RequantizeDoubleAttrs()
            | SumLinearAttrs()
        ):
            dtype = DType(attrs.dtype)
            free = replace(attrs, low=dtype.minimum, high=dtype.maximum)
            reached = node_range(graph, replace(node, attrs=free), op, ranges)
            if attrs == free or reached is None:
                return attrs
            low = dtype.minimum if reached.low.min() >= attrs.low else attrs.low
            high = dtype.maximum if reached.high.max() <= attrs.high else attrs.high
            return replace(attrs, low=low, high=high)
    return attrs
