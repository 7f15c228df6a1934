"""The graph as JSON text, in the format of TVM's graph executor (SPEC.md).

In: a ``GraphLayout`` and the prefix of its functions. Out: one line per node and per attribute, so
that people can read it and the C file that holds it. Names are identifiers and need no escapes.
The attributes ``storage_offset``, ``workspace_offset`` and ``workspace_bytes`` are additions that
other readers pass over.
"""

from __future__ import annotations

import json
from itertools import accumulate

from utvm.codegen.graph_layout import NOP, GraphLayout, GraphNode


def packed_symbol(prefix: str, function: str) -> str:
    """The C name of a kernel's packed function, which is its name in the graph, too."""
    return f"{prefix}_{function}_packed"


def graph_json(layout: GraphLayout, prefix: str) -> str:
    """The text; equal layouts give equal texts."""
    nodes = layout.nodes
    arguments = [i for i, node in enumerate(nodes) if not node.function]
    rows = list(accumulate((len(node.tensors) for node in nodes), initial=0))
    heads = [[*head, 0] for head in layout.heads]
    members = [
        f'"nodes": [\n{_lines([_node(node, prefix) for node in nodes])}\n]',
        f'"arg_nodes": {_text(arguments)}',
        f'"node_row_ptr": {_text(rows)}',
        f'"heads": {_text(heads)}',
        f'"attrs": {{\n{_lines(_attributes(layout))}\n}}',
    ]
    return "{\n" + ",\n".join(members) + "\n}\n"


def _lines(texts: list[str]) -> str:
    return ",\n".join(texts)


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _node(node: GraphNode, prefix: str) -> str:
    if not node.function:
        return _text({"op": "null", "name": node.name, "inputs": []})
    function = NOP if node.function == NOP else packed_symbol(prefix, node.function)
    attributes = {
        "func_name": function,
        "num_inputs": str(len(node.inputs)),
        "num_outputs": str(len(node.tensors)),
        "flatten_data": "0",
    }
    inputs = [[*reference, 0] for reference in node.inputs]
    return _text({"op": "tvm_op", "name": node.name, "inputs": inputs, "attrs": attributes})


def _attributes(layout: GraphLayout) -> list[str]:
    tensors, nodes = layout.tensors, layout.nodes
    lists: dict[str, tuple[str, list[object]]] = {
        "shape": ("list_shape", [list(t.shape) for t in tensors]),
        "dltype": ("list_str", [t.dtype for t in tensors]),
        "storage_id": ("list_int", [t.storage for t in tensors]),
        "storage_offset": ("list_int", [t.offset for t in tensors]),
    }
    if any(node.workspace[1] for node in nodes):
        lists["workspace_offset"] = ("list_int", [node.workspace[0] for node in nodes])
        lists["workspace_bytes"] = ("list_int", [node.workspace[1] for node in nodes])
    return [f"{_text(key)}: {_text(value)}" for key, value in lists.items()]
