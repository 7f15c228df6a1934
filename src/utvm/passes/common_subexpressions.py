"""common-subexpressions: of several nodes that compute the same, one remains.

In: a plain graph. Two nodes are the same if operator, attributes and operands are, where constants
count by what they hold. A result of the graph keeps its name and becomes a copy.

    %a = lut(%x, %t);  %b = lut(%x, %u);  %y = add(%a, %b)
    ---
    %a = lut(%x, %t);  %y = add(%a, %a)               where %t and %u hold the same
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from utvm.ir.graph import Graph, Node, is_quantized
from utvm.op.base import NoAttrs
from utvm.passes.replace_nodes import replace_nodes

Key = tuple[object, ...]


def common_subexpressions(graph: Graph) -> Graph:
    """The graph without nodes that repeat earlier ones."""
    constants = {name: _held(data) for name, data in graph.constants.items()}
    first: dict[Key, Node] = {}

    def rule(node: Node, made: Mapping[str, Node]) -> Node | str:
        if len(node.outputs) != 1 or node.op == "copy" or is_quantized(graph, node):
            return node
        operands = tuple(constants.get(name, name) for name in node.inputs)
        # By their text: -0.0 equals 0.0, but is not the same bound.
        earlier = first.setdefault((node.op, repr(node.attrs), operands), node)
        if earlier is node:
            return node
        if node.outputs[0] in graph.outputs:
            return replace(node, op="copy", inputs=earlier.outputs, attrs=NoAttrs())
        return earlier.outputs[0]

    return replace_nodes(graph, rule)


def _held(data: np.ndarray) -> Key:
    return (data.dtype.name, data.shape, data.tobytes())
