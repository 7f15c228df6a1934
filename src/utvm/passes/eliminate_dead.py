"""eliminate-dead: what no output depends on goes.

In: a graph. Out: the graph without the nodes whose results nobody reads, and without the constants
that only fed them. Graph inputs stay, read or not.
"""

from __future__ import annotations

from utvm.ir.graph import Graph, Node


def eliminate_dead(graph: Graph) -> Graph:
    """The graph with only the nodes that an output depends on."""
    live = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if live.intersection(node.outputs):
            live.update(node.inputs)
            kept.append(node)
    return graph.with_nodes(tuple(reversed(kept)))
