"""eliminate-dead: nodes whose results nobody reads go, and the constants that only fed them."""

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
