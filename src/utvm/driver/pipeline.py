"""The compiler, stage by stage: ``compile_graph`` and what it calls list every one in order.

In: a graph as an importer made it, and a target. Out: ``Compiled``, with the C sources and
everything that was decided on the way. ``load_model`` picks the importer by the file's name.
Nothing here runs a toolchain or a device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from utvm.codegen.assembly import assemble_micros
from utvm.codegen.c_entry import SessionFunctions, entry_functions, kernel_functions
from utvm.codegen.c_graph import GraphProgram, generate_graph_c
from utvm.codegen.c_module import generate_c, kernel_symbol, prefix_of
from utvm.codegen.params import load_params
from utvm.ir.graph import Graph
from utvm.ir.loop import Function, Module
from utvm.ir.memory import MemoryPlan
from utvm.op.registry import find_op
from utvm.passes.bind_loads import bind_loads
from utvm.passes.cancel_moves import cancel_moves
from utvm.passes.common_subexpressions import common_subexpressions
from utvm.passes.compose_luts import compose_luts
from utvm.passes.copy_outputs import copy_outputs
from utvm.passes.drop_clamps import drop_clamps
from utvm.passes.eliminate_dead import eliminate_dead
from utvm.passes.fold_channels import fold_channels
from utvm.passes.fold_constants import fold_constants
from utvm.passes.fold_pad import fold_pad
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.hoist_addresses import hoist_addresses
from utvm.passes.legalize import legalize
from utvm.passes.lower import lower
from utvm.passes.plan_memory import plan_memory
from utvm.passes.trim_windows import trim_windows
from utvm.schedule.module import schedule_module
from utvm.schedule.records import NO_RECORDS, Records
from utvm.target.target import Target

Observer = Callable[[str, Graph | Module], None]
"""Called after every stage with its name and result: for ``--print-after``, verifiers and progress.
"""


@dataclass(frozen=True, eq=False)
class Compiled:
    """A network in C. ``imported`` is the graph as the model gave it, ``graph`` the fused one.

    ``program`` is what only the graph executor has. ``executor`` calls the kernels, its parameters
    are ``loaded`` or in the code.
    """

    imported: Graph
    graph: Graph
    module: Module
    plan: MemoryPlan
    sources: Mapping[str, str]
    program: GraphProgram | None = None
    executor: str = "aot"
    loaded: bool = False

    @property
    def called(self) -> Module:
        """The module as it is called: with the loaded parameters as inputs."""
        return load_params(self.module) if self.loaded else self.module

    @property
    def functions(self) -> SessionFunctions:
        """The functions that a session calls to run the network."""
        if self.executor == "host":
            return kernel_functions(self.called, self.plan)
        graph = self.program is not None
        return entry_functions(self.module, self.sources, graph=graph, loaded=self.loaded)

    @property
    def run_symbol(self) -> str:
        """The C function that runs the network once."""
        return f"{prefix_of(self.module)}_run" if self.program is None else "TVMGraphRuntime_Run"

    @property
    def operator_symbols(self) -> dict[str, Function]:
        """The kernels by their C names, in execution order."""
        return {kernel_symbol(self.module, f.name): f for f in self.module.functions}


def compile_graph(
    imported: Graph,
    target: Target,
    observe: Observer = lambda stage, ir: None,
    executor: str = "aot",
    params: str = "linked",
    objective: str = "balanced",
    portable_c: bool = False,
    records: Records = NO_RECORDS,
) -> Compiled:
    """The whole compiler. Read this function to know the order of things.

    ``executor`` calls the kernels: straight C (``aot``), the runtime by a ``graph``, or a session
    from the ``host``. ``params`` are ``linked`` with the kernels, or ``loaded`` as inputs.
    ``objective`` is what schedules save: ``cycles``, ``size`` or both, ``balanced``; ``records``
    are what was measured of them. With ``portable_c`` no micro function becomes assembly.
    """
    graph, module = lower_network(imported, observe)
    own = sum(data.nbytes for data in imported.constants.values())
    module = schedule_module(module, target, objective, records, own)
    observe("schedule", module)
    module = finish_module(module, target, portable_c, observe)
    plan = plan_memory(module)
    compiled = Compiled(imported, graph, module, plan, {})
    return with_executor(compiled, executor, params)


def lower_network(
    imported: Graph, observe: Observer = lambda stage, ir: None
) -> tuple[Graph, Module]:
    """The stages in front of schedules: the fused graph, and its unscheduled kernels."""
    graph = imported
    graph_stages: tuple[tuple[str, Callable[[Graph], Graph]], ...] = (
        ("import", lambda g: g),
        ("fold-shapes", partial(fold_constants, find_op=find_op)),
        ("legalize", partial(legalize, find_op=find_op)),
        ("fold-pad", fold_pad),
        ("trim-windows", trim_windows),
        ("compose-luts", partial(compose_luts, find_op=find_op)),
        ("fold-constants", partial(fold_constants, find_op=find_op)),
        ("cancel-moves", cancel_moves),
        ("common-subexpressions", common_subexpressions),
        ("fold-channels", partial(fold_channels, find_op=find_op)),
        ("drop-clamps", partial(drop_clamps, find_op=find_op)),
        ("eliminate-dead", eliminate_dead),
        ("copy-outputs", copy_outputs),
        ("fuse-ops", partial(fuse_ops, find_op=find_op)),
    )
    for name, stage in graph_stages:
        graph = stage(graph)
        observe(name, graph)
    module = lower(graph, find_op)
    observe("lower", module)
    return graph, module


def finish_module(
    module: Module,
    target: Target,
    portable_c: bool = False,
    observe: Observer = lambda stage, ir: None,
) -> Module:
    """The stages behind schedules, up to what is printed as C."""
    loop_stages: tuple[tuple[str, Callable[[Function], Function]], ...] = (
        ("bind-loads", bind_loads),
        ("hoist-addresses", hoist_addresses),
    )
    if not portable_c:
        module = assemble_micros(module, target)
    for name, loop_stage in loop_stages:
        functions = tuple(map(loop_stage, module.functions))
        # What is assembled is not printed as C any more.
        micros = tuple(m if m.name in module.assembly else loop_stage(m) for m in module.micros)
        module = replace(module, functions=functions, micros=micros)
        observe(name, module)
    return module


def with_executor(compiled: Compiled, executor: str, params: str = "linked") -> Compiled:
    """The same kernels, called by another executor: only the C around them is generated anew."""
    imported, module, plan = compiled.imported, compiled.module, compiled.plan
    loaded = params == "loaded"
    other = replace(compiled, executor=executor, loaded=loaded, program=None)
    if executor == "aot":
        return replace(other, sources=generate_c(module, plan, imported))
    if executor == "host":
        return replace(other, sources=kernel_functions(other.called, plan).sources)
    program = generate_graph_c(module, plan, loaded)
    return replace(other, sources=program.sources, program=program)
