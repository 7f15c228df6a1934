"""copy-outputs: every graph output gets memory of its own.

An output that is a graph input, a constant, or an alias (by reshape) of one of these or of another
output, is replaced by a ``copy`` of it. After this pass the memory planner may place an output and
all its aliases in the caller's output buffer.
"""

from __future__ import annotations

from dataclasses import replace

from utvm.ir.graph import Graph, Node, Value
from utvm.op.base import NoAttrs


def copy_outputs(graph: Graph) -> Graph:
    """The graph with ``copy`` nodes behind the outputs that need them."""
    sources = {node.outputs[0]: node.inputs[0] for node in graph.nodes if node.op == "reshape"}
    taken = set(graph.inputs) | set(graph.constants)
    nodes, values, outputs = list(graph.nodes), dict(graph.values), []
    for name in graph.outputs:
        root = name
        while root in sources:
            root = sources[root]
        if root in taken:
            value = Value(_fresh(f"{name}_copy", values), values[name].type)
            values[value.name] = value
            nodes.append(Node(value.name, "copy", (name,), (value.name,), NoAttrs(), "output"))
            outputs.append(value.name)
        else:
            taken.add(root)
            outputs.append(name)
    return replace(graph, nodes=tuple(nodes), values=values, outputs=tuple(outputs))


def _fresh(name: str, values: dict[str, Value]) -> str:
    while name in values:
        name += "_"
    return name
