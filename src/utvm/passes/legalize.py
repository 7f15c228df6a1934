"""legalize: quantized and composite operators become plain ones.

In: a graph as imported. Out: a graph in which no value carries quantization and every operator has
a ``compute`` or ``define``. Each operator's own ``legalize`` does the work (``utvm/op/<name>.py``);
this pass walks the nodes and rewires their results. Before and after, for one int8 convolution:

    %y: int8 q = conv2d(%x: int8 q, %w: int8 q, %b) {activation=relu}
    ---
    %t: int32 = conv2d(%x, %w, %b2) {input_zero_point=-3}
    %y: int8 = requantize(%t, %multiplier, %shift) {low=-128, high=127, ...}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from utvm.ir.graph import Graph, Node, is_quantized
from utvm.ir.verify_graph import check_plain_nodes
from utvm.op.base import Op
from utvm.op.builder import GraphBuilder, plain
from utvm.support.errors import UnsupportedError, UtvmError

ROUNDS = 4
"""A composite operator may become another one; nothing nests deeper than this."""


def legalize(graph: Graph, find_op: Callable[[str], Op]) -> Graph:
    """The graph in plain operators. Raises UnsupportedError for a combination no operator takes."""
    for _ in range(ROUNDS):
        graph, changed = _round(graph, find_op)
        if not changed:
            break
    values = {name: plain(value) for name, value in graph.values.items()}
    graph = replace(graph, values=values)
    check_plain_nodes(graph, find_op)
    return graph


def legalize_alone(graph: Graph, node: Node, find_op: Callable[[str], Op]) -> Graph:
    """One node of ``graph`` in plain operators: to find out which ones hinder."""
    inputs = tuple(name for name in dict.fromkeys(node.inputs) if name not in graph.constants)
    alone = replace(graph, inputs=inputs, outputs=node.outputs).with_nodes((node,))
    return legalize(alone, find_op)


def _round(graph: Graph, find_op: Callable[[str], Op]) -> tuple[Graph, bool]:
    builder = GraphBuilder(graph.name, find_op)
    changed = False
    for name, value in graph.values.items():
        builder.add_value(value, graph.constants.get(name))
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        builder.source = node.source
        builder.detail = node.detail or _detail(graph, node)
        results = _legalize_node(builder, find_op(node.op), replace(node, inputs=inputs))
        if results is None:
            builder.add_node(node.op, inputs, node.outputs, node.attrs, node.name)
            continue
        changed = True
        for old, new in zip(node.outputs, results, strict=True):
            _check_same_type(builder, node, old, new)
            renamed[old] = new
            if builder.quantization(new) is None:
                builder.annotate(new, builder.quantization(old))
    outputs = [renamed.get(name, name) for name in graph.outputs]
    builder.set_io(graph.inputs, outputs)
    return _with_old_names(builder.build(), renamed), changed


def _with_old_names(graph: Graph, renamed: dict[str, str]) -> Graph:
    """The graph where a replacement bears the name of what it replaced, if nothing else needs that
    name.
    """
    made = {name for node in graph.nodes for name in node.outputs}
    names = {new: old for old, new in renamed.items() if new in made and old not in graph.values}

    def of(many: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in many)

    nodes = tuple(
        replace(node, inputs=of(node.inputs), outputs=of(node.outputs)) for node in graph.nodes
    )
    values = {
        names.get(name, name): replace(value, name=names.get(name, name))
        for name, value in graph.values.items()
    }
    return replace(graph, nodes=nodes, outputs=of(graph.outputs), values=values)


def _legalize_node(builder: GraphBuilder, op: Op, node: Node) -> tuple[str, ...] | None:
    if op.legalize is None:
        return None
    where = node.source or node.name
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            return op.legalize(builder, node)
    except UtvmError as error:
        error.where = error.where or where
        raise
    except (FloatingPointError, OverflowError):
        raise UnsupportedError(
            "the scales of this operator are too large, too small or too far apart", where=where
        ) from None


def _detail(graph: Graph, node: Node) -> str:
    """``int8[1,8] scale 0.5 zero point 3 -> ...`` for a quantized node, for people."""
    if not is_quantized(graph, node):
        return ""
    operands = ", ".join(value.describe() for value in graph.inputs_of(node))
    results = ", ".join(value.describe() for value in graph.outputs_of(node))
    return f"{operands} -> {results}"


def _check_same_type(builder: GraphBuilder, node: Node, old: str, new: str) -> None:
    declared, found = builder.type_of(old), builder.type_of(new)
    if declared != found:
        raise UnsupportedError(
            "the operator's result does not have the declared type",
            where=node.source or node.name,
            expected=str(declared),
            found=str(found),
        )
