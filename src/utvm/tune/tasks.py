"""What there is to tune in a network: each kernel with more than one schedule, once per workload.

In: a graph as an importer made it, and a target. Out: tasks. A task has the unscheduled kernel and
its constants, random inputs, and the outputs that every schedule must give: those of the operators'
NumPy references, so that neither loops nor code are compared with themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from utvm.driver.evaluate import evaluate
from utvm.driver.pipeline import lower_network
from utvm.driver.tensors import Rows, random_inputs
from utvm.ir.graph import Graph
from utvm.ir.loop import KernelCall, Module
from utvm.op.registry import find_op
from utvm.schedule.knobs import Option
from utvm.schedule.options import kernel_options
from utvm.schedule.records import Config
from utvm.schedule.workload import Workload, workload_of
from utvm.target.target import Target


@dataclass(frozen=True, eq=False)
class Task:
    """``module`` holds one unscheduled kernel; ``kernels`` are those of the network that are like
    it. ``inputs`` and ``expected`` have one row."""

    workload: Workload
    module: Module
    kernels: tuple[str, ...]
    inputs: Rows
    expected: Rows

    @property
    def calls(self) -> int:
        """How often a run of the network calls such kernels."""
        return len(self.kernels)

    @property
    def tensor_bytes(self) -> int:
        return sum(array.nbytes for array in (*self.inputs, *self.expected))

    def options(self, target: Target) -> dict[Config, Option]:
        """The space, by config."""
        found = kernel_options(self.module.functions[0], self.module.constants, target)
        return {option.config: option for option in found}


def find_tasks(imported: Graph, target: Target) -> list[Task]:
    """The tasks of a network, in the order of its kernels."""
    graph, module = lower_network(imported)
    names: dict[str, list[str]] = {}
    workloads: dict[str, Workload] = {}
    for function in module.functions:
        if len(kernel_options(function, module.constants, target)) > 1:
            workload = workload_of(function)
            workloads[workload.key] = workload
            names.setdefault(workload.key, []).append(function.name)
    return [_task(graph, module, workloads[key], alike) for key, alike in names.items()]


def _task(graph: Graph, module: Module, workload: Workload, kernels: Sequence[str]) -> Task:
    call = next(c for c in module.calls if c.function == kernels[0])
    alone = kernel_module(module, call)
    part = replace(
        graph.with_nodes(tuple(node for node in graph.nodes if node.group == call.function)),
        inputs=call.inputs,
        outputs=call.outputs,
    )
    values = {**part.values, **{name: graph.values[name] for name in call.inputs}}
    part = replace(part, values=values)
    inputs = random_inputs([part.values[name] for name in call.inputs])
    given = {name: rows[0] for name, rows in zip(call.inputs, inputs, strict=True)}
    results = evaluate(part, given, find_op)
    expected = tuple(results[name][None] for name in call.outputs)
    return Task(workload, alone, tuple(kernels), inputs, expected)


def kernel_module(module: Module, call: KernelCall) -> Module:
    """The module of one kernel: its operands are the inputs, its results the outputs."""
    function = module.function(call.function)
    names = (*call.inputs, *call.outputs)
    buffers = (*function.inputs, *function.outputs)
    tensors = {
        name: replace(buffer, name=name, scope="workspace")
        for name, buffer in zip(names, buffers, strict=True)
    }
    constants = {buffer.name: module.constants[buffer.name] for buffer in function.constants}
    return Module(
        module.name, call.inputs, call.outputs, (function,), (call,), tensors, {}, constants
    )
