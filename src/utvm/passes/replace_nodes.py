"""Walking a graph in order while nodes are replaced, or values that stand in for their results.

In: a graph and a rule that gets every node with its operands already replaced. It returns a node,
the same or another one, with the same results; or the name of an earlier value that equals the
node's only result. Then whoever reads the result reads that value, and the node goes, unless its
result is one of the graph's: those keep their names, so the node stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from utvm.ir.graph import Graph, Node
from utvm.passes.eliminate_dead import eliminate_dead

Rule = Callable[[Node, Mapping[str, Node]], Node | str]
"""Gets a node and the nodes in front of it by their results."""


def replace_nodes(graph: Graph, rule: Rule) -> Graph:
    """The graph by the rule, without what nothing reads any longer."""
    renamed: dict[str, str] = {}
    made: dict[str, Node] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        node = replace(node, inputs=inputs) if inputs != node.inputs else node
        found = rule(node, made)
        if isinstance(found, str):
            renamed[node.outputs[0]] = found
            if node.outputs[0] not in graph.outputs:
                continue
            found = node
        nodes.append(found)
        made |= dict.fromkeys(found.outputs, found)
    if all(a is b for a, b in zip(nodes, graph.nodes, strict=False)) and not renamed:
        return graph
    return eliminate_dead(replace(graph, nodes=tuple(nodes)))
