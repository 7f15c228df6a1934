"""fold-constants: nodes whose operands are all known are computed by their NumPy reference.

Shape arithmetic (SHAPE, STRIDED_SLICE, PACK in front of RESHAPE) disappears here. Quantized nodes
wait for ``legalize``. What is large or takes long stays, so that a small model cannot ask for much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from utvm.ir.graph import Graph, Node, is_quantized
from utvm.op.base import Op
from utvm.passes.eliminate_dead import eliminate_dead

LIMIT_BYTES, LIMIT_TOTAL_BYTES = 1 << 24, 1 << 26
# Matrix products: how many pairs of an operand's and a result's elements there may be.
LIMIT_PAIRS = 1 << 26


def fold_constants(graph: Graph, find_op: Callable[[str], Op]) -> Graph:
    """The graph with computable nodes replaced by constants, and without what only fed them."""
    constants = dict(graph.constants)
    kept = []
    total_bytes = 0
    for node in graph.nodes:
        op = find_op(node.op)
        known = all(name in constants for name in node.inputs)
        size_bytes = sum(value.type.size_bytes for value in graph.outputs_of(node))
        small = _is_small(graph, node) and total_bytes + size_bytes <= LIMIT_TOTAL_BYTES
        if not (known and small and op.reference) or is_quantized(graph, node):
            kept.append(node)
            continue
        total_bytes += size_bytes
        with np.errstate(all="ignore"):  # infinities and NaN are values like others
            results = op.reference([constants[name] for name in node.inputs], node.attrs)
        for value, result in zip(graph.outputs_of(node), results, strict=True):
            constants[value.name] = np.ascontiguousarray(result).reshape(value.shape)
    return eliminate_dead(replace(graph, constants=constants).with_nodes(tuple(kept)))


def _is_small(graph: Graph, node: Node) -> bool:
    """Whether a node is computed in little memory and time."""
    results = [value.type for value in graph.outputs_of(node)]
    if any(type.size_bytes > LIMIT_BYTES for type in results):
        return False
    if node.op in _WINDOWS:
        return False
    pairs = graph.values[node.inputs[0]].type.elements * results[0].elements
    return node.op != "dense" or pairs <= LIMIT_PAIRS


# Their references hold every window of the padded image, which may be far larger than the result.
_WINDOWS = {
    *("conv2d", "depthwise_conv2d", "transpose_conv2d", "transpose_conv2d_phases"),
    *("avg_pool2d", "max_pool2d"),
}
