"""Running a graph in NumPy: every node by its operator's exact reference.

In: a plain graph (after ``legalize``, or written by hand) and its inputs by name. Out: its outputs
by name. No schedule, no C and no device takes part: compiled results are compared with this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from utvm.ir.graph import Graph, is_quantized
from utvm.op.base import Op
from utvm.support.errors import InputError, UnsupportedError


def evaluate(
    graph: Graph, inputs: Mapping[str, np.ndarray], find_op: Callable[[str], Op]
) -> dict[str, np.ndarray]:
    """The outputs for one set of inputs, each of its declared shape and type."""
    known = {**graph.constants, **{name: _input(graph, name, inputs) for name in graph.inputs}}
    for node in graph.nodes:
        op = find_op(node.op)
        if op.reference is None or is_quantized(graph, node):
            raise UnsupportedError(
                "only plain operators are evaluated",
                where=node.source or node.name,
                found=node.op,
                hint="legalize the graph first",
            )
        with np.errstate(all="ignore"):  # infinities and NaN are values like others
            results = op.reference([known[name] for name in node.inputs], node.attrs)
        for value, result in zip(graph.outputs_of(node), results, strict=True):
            assert result.shape == value.shape, (node, result.shape)
            assert result.dtype == value.dtype.numpy, (node, result.dtype)
            known[value.name] = result
    return {name: known[name] for name in graph.outputs}


def _input(graph: Graph, name: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """An input of the declared shape and type, or InputError."""
    declared = graph.values[name].type
    if name not in inputs:
        raise InputError("an input is missing", expected=name, found=", ".join(inputs))
    data = inputs[name]
    if data.shape != declared.shape or data.dtype != declared.dtype.numpy:
        shape = ",".join(map(str, data.shape))
        raise InputError(
            f"input {name} is of another type",
            expected=str(declared),
            found=f"{data.dtype.name}[{shape}]",
        )
    return data
