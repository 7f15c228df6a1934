"""compose-luts: a table looked up in another table becomes one table.

Runs after legalize, which makes tables of single operators. The first one must have no other
reader and its entries must be the bytes that the second one takes.

    %t = lut(%x, %a);  %y = lut(%t, %b)
    ---
    %y = lut(%x, %c)        where c[k] = b[a[k]]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from utvm.ir.graph import Graph, Node, Value
from utvm.op.base import NoAttrs, Op


def compose_luts(graph: Graph, find_op: Callable[[str], Op]) -> Graph:
    """The graph without tables that only feed another one."""
    while (pair := _pair(graph)) is not None:
        graph = _composed(graph, *pair, find_op)
    return graph


def _pair(graph: Graph) -> tuple[Node, Node] | None:
    """Two tables of which the second is the only reader of the first."""
    tables = {n.outputs[0]: n for n in graph.nodes if n.op == "lut" and _is_known(graph, n)}
    consumers = graph.consumers()
    for second in tables.values():
        name = second.inputs[0]
        if name in tables and len(consumers[name]) == 1 and name not in graph.outputs:
            return tables[name], second
    return None


def _is_known(graph: Graph, node: Node) -> bool:
    return node.inputs[1] in graph.constants


def _composed(graph: Graph, first: Node, second: Node, find_op: Callable[[str], Op]) -> Graph:
    reference = find_op("lut").reference
    assert reference is not None
    inner, outer = (graph.constants[node.inputs[1]] for node in (first, second))
    (table,) = reference([inner, outer], NoAttrs())
    name = f"{second.outputs[0]}_table"
    while name in graph.values:
        name += "_"
    merged = replace(
        second,
        inputs=(first.inputs[0], name),
        source=", ".join(filter(None, (first.source, second.source))),
        detail=", then ".join(filter(None, (first.detail, second.detail))),
    )
    nodes = tuple(merged if n is second else n for n in graph.nodes if n is not first)
    type = replace(graph.values[second.inputs[1]].type, dtype=graph.values[second.outputs[0]].dtype)
    values = {**graph.values, name: Value(name, type)}
    constants = {**graph.constants, name: table}
    return replace(graph, values=values, constants=constants).with_nodes(nodes)
