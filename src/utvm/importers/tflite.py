"""Imports TFLite models: bytes of a file in, graph IR out, and a list of operators with reasons.

``import_tflite`` translates and computes nothing: quantized tensors become values with their
quantization, fused activations become attributes. ``list_operators`` goes through the same steps
and reports for each operator whether they work. The file is untrusted; whatever is wrong with it
is a ModelError, whatever utvm cannot do yet an UnsupportedError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from utvm.importers.tflite_context import Builders, OpContext
from utvm.importers.tflite_model import Operator, Subgraph, read_model
from utvm.importers.tflite_ops import translate
from utvm.ir.graph import Graph
from utvm.op.base import Op
from utvm.op.builder import GraphBuilder
from utvm.support.errors import UnsupportedError

FindOp = Callable[[str], Op]

_NAMED_FAILURES = 4


@dataclass(frozen=True)
class OperatorReport:
    """One operator of a model, for people. ``reason`` is empty where it is supported."""

    index: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    supported: bool
    reason: str


def import_tflite(data: bytes, *, name: str, find_op: FindOp) -> Graph:
    """The graph of a model; UnsupportedError names the operators that utvm cannot translate."""
    subgraphs = read_model(data)
    graph, reasons = _translate(subgraphs[0], name, find_op)
    failures = [
        f"{operator.where} ({reason})"
        for operator, reason in (*reasons, *_other_operators(subgraphs))
        if reason
    ]
    if failures:
        more = len(failures) - _NAMED_FAILURES
        raise UnsupportedError(
            f"{len(failures)} operators of the model are not supported: "
            + ", ".join(failures[:_NAMED_FAILURES])
            + (f" and {more} more" if more > 0 else ""),
            hint="utvm inspect lists every operator with the reason",
        )
    return graph.build()


def list_operators(data: bytes, *, find_op: FindOp) -> tuple[OperatorReport, ...]:
    """Every operator of a model, supported or not, in the order of the file."""
    subgraphs = read_model(data)
    _, reasons = _translate(subgraphs[0], "model", find_op)
    reports = [_report(subgraphs[0], *entry) for entry in reasons]
    for subgraph in subgraphs[1:]:
        reports += [_report(subgraph, *entry) for entry in _other_operators((subgraph,), 0)]
    return tuple(reports)


Reasons = list[tuple[Operator, str]]


def _translate(subgraph: Subgraph, name: str, find_op: FindOp) -> tuple[GraphBuilder, Reasons]:
    """The graph, and for every operator why it is not supported, or nothing.

    An operator that fails leaves values that nothing makes, so that those behind it can still
    be looked at; such a graph is never built.
    """
    builder = GraphBuilder(name, find_op)
    graph = Builders(builder, find_op)
    for index in subgraph.inputs:
        graph.declare_if_possible(subgraph.tensors[index])
    for tensor in subgraph.tensors:
        if tensor.data is not None:
            graph.declare_if_possible(tensor, tensor.data)
    reasons: Reasons = []
    for operator in subgraph.operators:
        builder.source = f"{operator.name} #{operator.index}"
        reasons.append((operator, _reason(operator, subgraph, graph)))
        for index in operator.outputs:
            graph.declare_if_possible(subgraph.tensors[index])
    ends = [[graph.names.get(i) for i in side] for side in (subgraph.inputs, subgraph.outputs)]
    inputs, outputs = ([name for name in side if name is not None] for side in ends)
    builder.set_io(inputs, outputs)
    return builder, reasons


def _reason(operator: Operator, subgraph: Subgraph, graph: Builders) -> str:
    """Translates one operator; why it is not supported, or nothing."""
    try:
        translate(OpContext(operator, subgraph.tensors, graph))
    except UnsupportedError as error:
        place = error.where.removeprefix(operator.where).removeprefix(", ")
        return str(
            UnsupportedError(
                error.what,
                where=place,
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            )
        )
    return ""


def _other_operators(subgraphs: tuple[Subgraph, ...], first: int = 1) -> Reasons:
    """Control flow, which utvm does not have, is all that reaches other subgraphs."""
    reason = "lies in a second subgraph; only the first one is supported"
    return [(op, reason) for subgraph in subgraphs[first:] for op in subgraph.operators]


def _report(subgraph: Subgraph, operator: Operator, reason: str) -> OperatorReport:
    def types(indices: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(str(subgraph.tensors[i]) if i >= 0 else "none" for i in indices)

    return OperatorReport(
        index=operator.index,
        name=operator.name,
        inputs=types(operator.inputs),
        outputs=types(operator.outputs),
        supported=not reason,
        reason=reason,
    )
