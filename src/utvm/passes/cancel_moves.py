"""cancel-moves: what only moves elements back and forth, or not at all, goes.

In: a plain graph. Transposes behind transposes and reshapes behind reshapes become one; integers
that are widened and then cast are cast once. What then changes nothing goes: a transpose in the old
order, a reshape to the same shape, a cast to the same type, a slice of everything, a border of
nothing, a concatenation of one. A transpose that moves only axes of one element is a reshape.

    %a: int8[1,4,9] = transpose(%x) {permutation=[0, 2, 1]}
    %y: int8[1,9,4] = transpose(%a) {permutation=[0, 2, 1]}
    ---
    %x
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, Node, TensorType, is_quantized
from utvm.op.cast import CastAttrs
from utvm.op.concat import ConcatAttrs
from utvm.op.pad import PadAttrs
from utvm.op.reshape import ReshapeAttrs
from utvm.op.strided_slice import StridedSliceAttrs
from utvm.op.transpose import TransposeAttrs
from utvm.passes.replace_nodes import replace_nodes


def cancel_moves(graph: Graph) -> Graph:
    """The graph without moves that cancel each other or do nothing."""

    def rule(node: Node, made: Mapping[str, Node]) -> Node | str:
        if len(node.outputs) != 1 or len(node.inputs) != 1 or is_quantized(graph, node):
            return node
        source = made.get(node.inputs[0])
        if source is not None and not is_quantized(graph, source):
            node = _composed(graph, node, source)
        node = _as_reshape(graph, node)
        (x,), (y,) = graph.inputs_of(node), graph.outputs_of(node)
        return x.name if x.type == y.type and _moves_nothing(node, x.type) else node

    return replace_nodes(graph, rule)


def _composed(graph: Graph, node: Node, source: Node) -> Node:
    """The node applied to what its source reads, if it can do the work of both."""
    match node.attrs, source.attrs:
        case TransposeAttrs(outer), TransposeAttrs(inner):
            order = tuple(inner[axis] for axis in outer)
            return replace(node, inputs=source.inputs, attrs=TransposeAttrs(order))
        case ReshapeAttrs(), ReshapeAttrs():
            return replace(node, inputs=source.inputs)
        case CastAttrs(), CastAttrs():
            (x,), (wide,) = graph.inputs_of(source), graph.outputs_of(source)
            if _holds(wide.dtype, x.dtype):
                return replace(node, inputs=source.inputs)
    return node


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of an integer type is one of the other type, too."""
    integers = wide.is_integer and narrow.is_integer
    return integers and wide.minimum <= narrow.minimum and narrow.maximum <= wide.maximum


def _as_reshape(graph: Graph, node: Node) -> Node:
    if not isinstance(node.attrs, TransposeAttrs):
        return node
    (x,), (y,) = graph.inputs_of(node), graph.outputs_of(node)
    long_axes = [axis for axis in node.attrs.permutation if x.shape[axis] > 1]
    if long_axes != sorted(long_axes):
        return node
    return replace(node, op="reshape", attrs=ReshapeAttrs(y.shape))


def _moves_nothing(node: Node, x: TensorType) -> bool:
    """Whether a node with a result of its operand's type keeps every element in its place."""
    match node.attrs:
        case ReshapeAttrs() | CastAttrs() | ConcatAttrs() | PadAttrs():
            return True
        case TransposeAttrs(permutation):
            return permutation == tuple(range(len(x.shape)))
        case StridedSliceAttrs(strides=strides):
            steps = zip(strides, x.shape, strict=True)
            return all(stride > 0 or size == 1 for stride, size in steps)
    return False
