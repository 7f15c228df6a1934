"""How the kernels of a network are scheduled, for people to read; and networks scheduled by hand.

In: a graph and the options of a build. Out: per kernel the unscheduled loops, the steps of its
schedule with the nest behind each, the scheduled loops, and the micro functions that these invoke
with their assembly. ``build_by_hand`` builds a program in which some kernels have a schedule that
somebody wrote, ``build_kernel`` one of a single kernel, which need not be of any network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from utvm.driver.build import Build, build_compiled
from utvm.driver.load import Model
from utvm.driver.options import BuildOptions
from utvm.driver.pipeline import (
    Compiled,
    compile_graph,
    finish_module,
    lower_network,
    with_executor,
)
from utvm.ir.graph import Graph, TensorType, Value
from utvm.ir.loop import Function, Invoke, KernelCall, Module, Stmt
from utvm.ir.print_loop import print_function
from utvm.ir.rewrite import map_statements, statements
from utvm.passes.plan_memory import plan_memory
from utvm.schedule.module import schedule_module, with_functions
from utvm.schedule.trace import Schedule, replay
from utvm.support.errors import InputError
from utvm.support.text import printable


@dataclass(frozen=True)
class MicroView:
    """A micro function as loop IR, and as assembly in C; empty where it stays C."""

    name: str
    text: str
    assembly: str


@dataclass(frozen=True)
class KernelView:
    """A kernel and its schedule as text. ``steps`` has the nest behind each step; it is empty where
    a kernel is not made by steps from its loops, but anew: in register blocks.
    """

    name: str
    op: str
    about: tuple[str, ...]
    unscheduled: str
    steps: tuple[tuple[str, str], ...]
    scheduled: str
    micros: tuple[MicroView, ...]


def view_schedules(
    graph: Graph, options: BuildOptions, operator: str | None = None
) -> tuple[KernelView, ...]:
    """All kernels, or those that are called ``operator`` or compute it."""
    seen: dict[str, Module] = {}

    def observe(stage: str, ir: Graph | Module) -> None:
        if isinstance(ir, Module):
            seen[stage] = ir

    compiled = compile_graph(
        graph,
        options.target,
        observe,
        objective=options.objective,
        portable_c=options.portable_c,
        records=options.records,
    )
    before, after = seen["lower"], seen["schedule"]
    names = [f.name for f in before.functions if operator in (None, f.name, f.op)]
    if not names:
        known = ", ".join(f.name for f in before.functions)
        assert operator is not None
        raise InputError("no such kernel", expected=f"one of {known}", found=printable(operator))
    assembly = compiled.module.assembly
    return tuple(_view(before.function(n), after.function(n), after, assembly) for n in names)


def _view(
    before: Function, after: Function, module: Module, assembly: Mapping[str, str]
) -> KernelView:
    invoked = dict.fromkeys(s.function for s in statements(after.body) if isinstance(s, Invoke))
    micros = {micro.name: micro for micro in module.micros}
    return KernelView(
        name=before.name,
        op=before.op,
        about=before.comment,
        unscheduled=_text(before),
        steps=_steps(before, after),
        scheduled=_text(after),
        micros=tuple(
            MicroView(name, _text(micros[name]), assembly.get(name, "")) for name in invoked
        ),
    )


def _steps(before: Function, after: Function) -> tuple[tuple[str, str], ...]:
    return tuple((step, _text(nest)) for step, nest in replay(before, after.steps))


def _text(function: Function) -> str:
    """Without the comments: a view has them once."""
    return print_function(replace(function, comment=()))


def unscheduled(graph: Graph) -> dict[str, Schedule]:
    """The kernels of a network by name, to be scheduled by hand."""
    module = lower_network(graph)[1]
    return {f.name: Schedule(f, dict(module.constants)) for f in module.functions}


def build_by_hand(
    model: Model, graph: Graph, options: BuildOptions, schedules: Mapping[str, Schedule], out: Path
) -> Build:
    """The program, with ``schedules`` for the kernels that they name and the default for others."""
    fused, lowered = lower_network(graph)
    for name in schedules:
        if all(name != f.name for f in lowered.functions):
            known = ", ".join(f.name for f in lowered.functions)
            raise InputError("no such kernel", expected=f"one of {known}", found=printable(name))
    size = sum(data.nbytes for data in graph.constants.values())
    default = schedule_module(lowered, options.target, options.objective, options.records, size)
    constants = dict(default.constants)
    functions = {f.name: f for f in default.functions}
    micros = list(default.micros)
    for name, schedule in schedules.items():
        own = {micro.name: f"{name}_{micro.name}" for micro in schedule.micros}
        functions[name] = _invoking(schedule.function, own)
        micros += [replace(micro, name=own[micro.name]) for micro in schedule.micros]
        constants |= schedule.constants
    bodies = [s for f in functions.values() for s in statements(f.body)]
    invoked = {s.function for s in bodies if isinstance(s, Invoke)}
    micros = [micro for micro in micros if micro.name in invoked]
    module = with_functions(default, list(functions.values()), micros, constants)
    module = finish_module(module, options.target, options.portable_c)
    compiled = Compiled(graph, fused, module, plan_memory(module), {})
    return build_compiled(model, with_executor(compiled, options.executor), options, out)


def _invoking(function: Function, names: Mapping[str, str]) -> Function:
    """The kernel with other names of its micro functions: others may bear the same."""

    def change(stmt: Stmt) -> Stmt:
        return replace(stmt, function=names[stmt.function]) if isinstance(stmt, Invoke) else stmt

    return replace(function, body=map_statements(function.body, change))


def build_kernel(schedule: Schedule, options: BuildOptions, out: Path) -> Build:
    """A program of one kernel; its inputs and outputs are those of the program."""
    function = schedule.function
    inputs, outputs = (tuple(b.name for b in g) for g in (function.inputs, function.outputs))
    buffers = (*function.inputs, *function.outputs)
    values = {b.name: Value(b.name, TensorType(b.shape, b.dtype)) for b in buffers}
    graph = Graph(function.name, inputs, outputs, (), values)
    call = KernelCall(function.name, inputs, outputs)
    tensors = {b.name: b for b in buffers}
    module = Module(function.name, inputs, outputs, (function,), (call,), tensors)
    module = with_functions(module, [function], schedule.micros, schedule.constants)
    module = finish_module(module, options.target, options.portable_c)
    compiled = Compiled(graph, graph, module, plan_memory(module), {})
    model = Model(function.name, Path(function.name), "graph", b"")
    return build_compiled(model, with_executor(compiled, options.executor), options, out)
