"""fold-constants: nodes whose operands are all known are computed by their NumPy reference.

Shape arithmetic (SHAPE, STRIDED_SLICE, PACK in front of RESHAPE) disappears here. Quantized nodes
wait for ``legalize``. Results above a size limit stay, so that a small model cannot ask for much
memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from utvm.ir.graph import Graph, is_quantized
from utvm.op.base import Op
from utvm.passes.eliminate_dead import eliminate_dead

LIMIT_BYTES = 1 << 24


def fold_constants(graph: Graph, find_op: Callable[[str], Op]) -> Graph:
    """The graph with computable nodes replaced by constants, and without what only fed them."""
    constants = dict(graph.constants)
    kept = []
    for node in graph.nodes:
        op = find_op(node.op)
        known = all(name in constants for name in node.inputs)
        small = all(value.type.size_bytes <= LIMIT_BYTES for value in graph.outputs_of(node))
        if not (known and small and op.reference) or is_quantized(graph, node):
            kept.append(node)
            continue
        results = op.reference([constants[name] for name in node.inputs], node.attrs)
        for value, result in zip(graph.outputs_of(node), results, strict=True):
            constants[value.name] = np.ascontiguousarray(result).reshape(value.shape)
    return eliminate_dead(replace(graph, constants=constants).with_nodes(tuple(kept)))
