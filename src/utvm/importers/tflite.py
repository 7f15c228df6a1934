"""Imports TFLite models: bytes of a file in, graph IR out, and a list of operators with reasons.

``import_tflite`` translates and computes nothing: quantized tensors become values with their
quantization, fused activations become attributes. ``list_operators`` goes through the same steps
and reports for each operator whether they work. The file is untrusted; whatever is wrong with it
is a ModelError, whatever utvm cannot do yet an UnsupportedError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from utvm.importers.tflite_context import OpContext, Values
from utvm.importers.tflite_model import Operator, Subgraph, read_model
from utvm.importers.tflite_ops import translate
from utvm.ir.graph import Graph
from utvm.op.base import Op
from utvm.op.builder import GraphBuilder
from utvm.support.errors import ModelError, UnsupportedError

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
    builder, outcomes = _translate(subgraphs[0], name, find_op)
    outcomes += _other_operators(subgraphs[1:])
    failures = [error for _, error in outcomes if error is not None]
    if failures:
        counts = Counter(operator.name for operator, error in outcomes if error is not None)
        raise _summary(failures, counts, len(outcomes))
    return builder.build()


def list_operators(data: bytes, *, find_op: FindOp) -> tuple[OperatorReport, ...]:
    """Every operator of a model, supported or not, in the order of the file."""
    subgraphs = read_model(data)
    _, outcomes = _translate(subgraphs[0], "model", find_op)
    reports = [_report(subgraphs[0], *outcome) for outcome in outcomes]
    for subgraph in subgraphs[1:]:
        reports += [_report(subgraph, *outcome) for outcome in _other_operators((subgraph,))]
    return tuple(reports)


# Every operator with why it is not supported, None where it is.
Outcomes = list[tuple[Operator, UnsupportedError | None]]


def _translate(subgraph: Subgraph, name: str, find_op: FindOp) -> tuple[GraphBuilder, Outcomes]:
    """Translates operator by operator.

    One that fails leaves values that nothing makes, so that those behind it can still be looked
    at; such a graph is never built.
    """
    builder = GraphBuilder(name, find_op)
    graph = Values(builder, find_op)
    for index in subgraph.inputs:
        graph.declare_if_possible(subgraph.tensors[index])
    for tensor in subgraph.tensors:
        if tensor.data is not None:
            graph.declare_if_possible(tensor, tensor.data)
    outcomes: Outcomes = []
    for operator in subgraph.operators:
        builder.source = f"{operator.name} #{operator.index}"
        outcomes.append((operator, _attempt(operator, subgraph, graph)))
        for index in operator.outputs:
            graph.declare_if_possible(subgraph.tensors[index])
    failed = any(error is not None for _, error in outcomes)
    if not failed:
        graph.require(subgraph.inputs, subgraph.tensors)
        graph.require(subgraph.outputs, subgraph.tensors)
        builder.set_io(
            [graph.names[index] for index in subgraph.inputs],
            [graph.names[index] for index in subgraph.outputs],
        )
    return builder, outcomes


def _attempt(operator: Operator, subgraph: Subgraph, graph: Values) -> UnsupportedError | None:
    """Translates one operator; what hinders it is returned for the list of all of them."""
    try:
        translate(OpContext(operator, subgraph.tensors, graph))
    except UnsupportedError as error:
        return error
    except ModelError as error:
        used = [subgraph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
        if not any(tensor.is_dynamic for tensor in used):
            raise
        # The file's shapes are placeholders for what the operators find at run time.
        return UnsupportedError(
            f"shapes are known only at run time ({error.what})",
            where=error.where,
            expected=error.expected,
            found=error.found,
            hint="convert the model with a fixed batch size",
        )
    return None


def _other_operators(subgraphs: tuple[Subgraph, ...]) -> Outcomes:
    """Control flow, which utvm does not have, is all that reaches other subgraphs."""
    return [
        (
            operator,
            UnsupportedError(
                "only the first subgraph of a model is supported", where=operator.where
            ),
        )
        for subgraph in subgraphs
        for operator in subgraph.operators
    ]


def _summary(
    failures: list[UnsupportedError], counts: Counter[str], total: int
) -> UnsupportedError:
    """One error for all operators that failed; the first one in full."""
    first = failures[0]
    hint = "utvm inspect lists every operator with the reason"
    if len(failures) == 1:
        what, where = first.what, first.where
    else:
        names = [f"{count} {name}" for name, count in counts.most_common(_NAMED_FAILURES)]
        names += ["others"] if len(counts) > _NAMED_FAILURES else []
        what = (
            f"{len(failures)} of {total} operators are not supported ({', '.join(names)}); "
            f"the first: {first.where}: {first.what}"
        )
        where = ""
    return UnsupportedError(
        what,
        where=where,
        expected=first.expected,
        found=first.found,
        hint=f"{first.hint}; {hint}" if first.hint else hint,
    )


def _report(
    subgraph: Subgraph, operator: Operator, error: UnsupportedError | None
) -> OperatorReport:
    def types(indices: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(str(subgraph.tensors[i]) if i >= 0 else "none" for i in indices)

    return OperatorReport(
        index=operator.index,
        name=operator.name,
        inputs=types(operator.inputs),
        outputs=types(operator.outputs),
        supported=error is None,
        reason="" if error is None else _reason(error, operator),
    )


def _reason(error: UnsupportedError, operator: Operator) -> str:
    """The error's text without the operator, which stands beside it."""
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
