"""What ``utvm inspect`` knows of a model before anything runs.

In: a model and the options of a build. Out: an ``Inspection``: every operator, supported or not and
why; the model's inputs and outputs; and, where all is supported, MACs and the exact memory. The
memory is read from the linked program, as ``utvm run`` does, so that both say the same. A
program that does not fit its board is linked again with room enough, to say how much it needs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from utvm.codegen.forecast import forecast_module
from utvm.driver.build import Build, build_graph, input_values, output_values
from utvm.driver.load import Model, import_model, naming
from utvm.driver.memory import Memory
from utvm.driver.options import BuildOptions
from utvm.driver.pipeline import Compiled
from utvm.driver.run import kernel_sources
from utvm.importers.tflite import list_operators
from utvm.importers.tflite_model import Tensor, read_model
from utvm.ir.graph import Graph, Node, Quantization, Value
from utvm.ir.loop import KernelCall
from utvm.op.registry import find_op
from utvm.passes.fold_constants import fold_constants
from utvm.passes.legalize import legalize_alone
from utvm.support.errors import MemoryLimitError, UnsupportedError
from utvm.support.text import printable
from utvm.target.board import Board
from utvm.target.target import Target

_ROOM_BYTES = 128 << 20


@dataclass(frozen=True)
class OperatorLine:
    """One operator of the model. ``macs`` is None where the model could not be imported.

    The predictions are those of the kernels that begin with this operator; None where it is part of
    another's kernel, where none is left of it, and for targets whose cycles are not forecast.
    """

    index: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    supported: bool
    reason: str
    macs: int | None
    predicted_cycles: int | None = None
    predicted_instructions: int | None = None


@dataclass(frozen=True)
class KernelLine:
    """One kernel of the network, in execution order, and what one run of it is expected to cost."""

    name: str
    op: str
    source: str
    macs: int
    predicted_cycles: int
    predicted_instructions: int


@dataclass(frozen=True)
class TensorLine:
    """An input or output of the model."""

    name: str
    type: str
    quantization: Quantization | None


@dataclass(frozen=True)
class Inspection:
    """``build`` is None where nothing could be built; ``problem`` then says why."""

    model: Model
    options: BuildOptions
    inputs: tuple[TensorLine, ...]
    outputs: tuple[TensorLine, ...]
    operators: tuple[OperatorLine, ...]
    problem: str
    build: Build | None
    fits: bool | None
    kernels: tuple[KernelLine, ...] = ()

    @property
    def supported(self) -> bool:
        return not self.problem

    @property
    def predicted_cycles(self) -> int | None:
        """Of one invocation; None where nothing is forecast."""
        return sum(k.predicted_cycles for k in self.kernels) if self.kernels else None

    @property
    def predicted_instructions(self) -> int | None:
        return sum(k.predicted_instructions for k in self.kernels) if self.kernels else None

    @property
    def macs_removed(self) -> int | None:
        """MACs of the model that no kernel does: channels that are constant or unread."""
        if self.build is None:
            return None
        return max(sum(op.macs or 0 for op in self.operators) - self.build.macs, 0)

    @property
    def memory(self) -> Memory | None:
        return None if self.build is None else self.build.memory


def inspect_model(model: Model, options: BuildOptions) -> Inspection:
    """Looks at a model, and builds it if it can be built."""
    operators = _tflite_operators(model) if model.kind == "tflite" else ()
    failed = [operator for operator in operators if not operator.supported]
    if failed:
        inputs, outputs = _tflite_tensors(model)
        problem = _problem(failed, operators)
        return Inspection(model, options, inputs, outputs, operators, problem, None, None)
    graph = import_model(model)
    operators = _with_macs(operators, graph) if operators else _graph_operators(graph)
    inputs, outputs = _tensors(model, graph)
    tflite = model.kind == "tflite"
    keys = [f"{op.name} #{op.index}" for op in operators] if tflite else _keys(graph.nodes)
    try:
        build, fits = _build(model, graph, options)
    except UnsupportedError as error:
        operators = _with_reasons(operators, keys, graph)
        failed = [operator for operator in operators if not operator.supported]
        problem = _problem(failed, operators) if failed else str(error)
        return Inspection(model, options, inputs, outputs, operators, problem, None, None)
    kernels = forecast_kernels(build.compiled, options.target)
    operators = _with_forecasts(operators, keys, build.compiled.graph, kernels)
    return Inspection(model, options, inputs, outputs, operators, "", build, fits, kernels)


def forecast_kernels(compiled: Compiled, target: Target) -> tuple[KernelLine, ...]:
    """What each kernel is expected to cost; nothing for targets that have no costs."""
    module = compiled.module
    forecasts = forecast_module(module, target)
    if forecasts is None:
        return ()
    sources = kernel_sources(compiled.graph)

    def line(call: KernelCall) -> KernelLine:
        function, cost = module.function(call.function), forecasts[call.function]
        return KernelLine(
            function.name,
            function.op,
            sources.get(function.name, ""),
            function.macs,
            round(cost.cycles),
            round(cost.instructions),
        )

    return tuple(map(line, module.calls))


def _with_forecasts(
    operators: tuple[OperatorLine, ...],
    keys: Sequence[str],
    fused: Graph,
    kernels: Sequence[KernelLine],
) -> tuple[OperatorLine, ...]:
    """Predictions at the first operator of each kernel; ``keys`` names the operators."""
    first: dict[str, str] = {}
    for node in fused.nodes:
        found = [key for key in (node.source, *node.outputs) if key in keys]
        if found:
            first.setdefault(node.group or node.name, found[0])
    costs: dict[str, tuple[int, int]] = {}
    for kernel in kernels:
        key = first.get(kernel.name, "")
        cycles, instructions = costs.get(key, (0, 0))
        costs[key] = cycles + kernel.predicted_cycles, instructions + kernel.predicted_instructions
    return tuple(
        replace(op, predicted_cycles=costs[key][0], predicted_instructions=costs[key][1])
        if key in costs
        else op
        for op, key in zip(operators, keys, strict=True)
    )


def _problem(failed: Sequence[OperatorLine], operators: Sequence[OperatorLine]) -> str:
    return f"{len(failed)} of {len(operators)} operators are not supported"


def _keys(nodes: Sequence[Node]) -> list[str]:
    """Where each node came from: what stays the same while passes rewrite the graph."""
    return [node.source or node.outputs[0] for node in nodes]


def _with_reasons(
    operators: tuple[OperatorLine, ...], keys: Sequence[str], graph: Graph
) -> tuple[OperatorLine, ...]:
    """Operators that can be imported, but not legalized, with the reason; ``keys`` names them."""
    reasons: dict[str, str] = {}
    folded = fold_constants(graph, find_op)
    for key, node in zip(_keys(folded.nodes), folded.nodes, strict=True):
        try:
            legalize_alone(folded, node, find_op)
        except UnsupportedError as error:
            error.where = ""
            reasons[key] = str(error)
    return tuple(
        replace(op, supported=key not in reasons, reason=reasons.get(key, ""))
        for op, key in zip(operators, keys, strict=True)
    )


def _build(model: Model, graph: Graph, options: BuildOptions) -> tuple[Build, bool]:
    """The program, and whether it fits the board."""
    with tempfile.TemporaryDirectory(prefix="utvm-") as scratch:
        try:
            return build_graph(model, graph, options, Path(scratch)), True
        except MemoryLimitError:
            roomy = replace(options, board=_roomy(options.board))
            return build_graph(model, graph, roomy, Path(scratch)), False


def _roomy(board: Board) -> Board:
    """The board with main memories that hold any model; never run, only linked for."""
    main = {board.memory("flash").name, board.memory("ram").name}
    return replace(
        board,
        memories=tuple(
            replace(memory, size_bytes=_ROOM_BYTES) if memory.name in main else memory
            for memory in board.memories
        ),
    )


def _tflite_operators(model: Model) -> tuple[OperatorLine, ...]:
    with naming(model):
        reports = list_operators(model.data, find_op=find_op)
    return tuple(
        OperatorLine(r.index, r.name, r.inputs, r.outputs, r.supported, r.reason, None)
        for r in reports
    )


def _with_macs(operators: tuple[OperatorLine, ...], graph: Graph) -> tuple[OperatorLine, ...]:
    """MACs by the operators that the nodes came from."""
    macs: dict[str, int] = {}
    for node in graph.nodes:
        macs[node.source] = macs.get(node.source, 0) + _node_macs(graph, node)
    return tuple(replace(op, macs=macs.get(f"{op.name} #{op.index}", 0)) for op in operators)


def _graph_operators(graph: Graph) -> tuple[OperatorLine, ...]:
    """Operators of a graph in text form: all that it parses with are supported."""
    return tuple(
        OperatorLine(
            index,
            node.op,
            tuple(str(value.type) for value in graph.inputs_of(node)),
            tuple(str(value.type) for value in graph.outputs_of(node)),
            True,
            "",
            _node_macs(graph, node),
        )
        for index, node in enumerate(graph.nodes)
    )


def _node_macs(graph: Graph, node: Node) -> int:
    count = find_op(node.op).macs
    if count is None:
        return 0
    inputs = [value.type for value in graph.inputs_of(node)]
    return count(inputs, [value.type for value in graph.outputs_of(node)])


def _tensors(model: Model, graph: Graph) -> tuple[tuple[TensorLine, ...], tuple[TensorLine, ...]]:
    if model.kind == "tflite":
        return _tflite_tensors(model)
    inputs, outputs = input_values(graph), output_values(graph)
    return tuple(map(_value_line, inputs)), tuple(map(_value_line, outputs))


def _value_line(value: Value) -> TensorLine:
    return TensorLine(value.name, str(value.type), value.quantization)


def _tflite_tensors(model: Model) -> tuple[tuple[TensorLine, ...], tuple[TensorLine, ...]]:
    """Inputs and outputs as the file names them."""
    with naming(model):
        network = read_model(model.data)[0]

    def line(tensor: Tensor) -> TensorLine:
        return TensorLine(printable(tensor.name), str(tensor), tensor.quantization)

    return (
        tuple(line(network.tensors[index]) for index in network.inputs),
        tuple(line(network.tensors[index]) for index in network.outputs),
    )
