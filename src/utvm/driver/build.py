"""From a model to a linked program: import, compile, write the C, compile and link that.

In: a model, options, and a folder of which this is the only user. Out: a ``Build`` with everything
known about the program before it runs. Below the folder: the generated C and headers,
``model.elf`` and ``model.map``. The transport says which kind of program it is: one that runs
alone, an RPC server, one in RAM for a debugger; or none, where the device has its program already.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from utvm.codegen.c_rpc_main import rpc_program
from utvm.device.crt import crt_include_dir, crt_sources
from utvm.device.elf import ElfImage, read_elf
from utvm.device.link import build_elf
from utvm.device.rpc_program import rpc_sources, server_limits
from utvm.driver.load import Model, import_model
from utvm.driver.memory import Memory, read_memory
from utvm.driver.options import BuildOptions
from utvm.driver.pipeline import Compiled, Observer, compile_graph
from utvm.driver.ram_program import link_ram_program
from utvm.driver.session_network import session_memory_bytes
from utvm.driver.transports import ELSEWHERE, RAM, SERVER, STANDALONE, Endpoint
from utvm.ir.graph import Graph, Value
from utvm.target.board import Board

PROGRAM = "model.elf"


@dataclass(frozen=True, eq=False)
class Build:
    """A program; None where it is on the device. Of a native one, image and memory are None.

    ``compile_seconds`` is the time from the model's bytes to the linked program.
    """

    model: Model
    options: BuildOptions
    compiled: Compiled
    program: Path | None
    image: ElfImage | None
    memory: Memory | None
    compile_seconds: float

    @property
    def endpoint(self) -> Endpoint:
        """Where a session finds the program."""
        options = self.options
        return Endpoint(options.board, options.target, options.transport.argument, self.program)

    @property
    def inputs(self) -> tuple[Value, ...]:
        return input_values(self.compiled.imported)

    @property
    def outputs(self) -> tuple[Value, ...]:
        return output_values(self.compiled.imported)

    @property
    def macs(self) -> int:
        return sum(function.macs for function in self.compiled.module.functions)


def input_values(graph: Graph) -> tuple[Value, ...]:
    return tuple(graph.values[name] for name in graph.inputs)


def output_values(graph: Graph) -> tuple[Value, ...]:
    return tuple(graph.values[name] for name in graph.outputs)


def build_model(
    model: Model, options: BuildOptions, folder: Path, observe: Observer = lambda stage, ir: None
) -> Build:
    """Builds the program for ``model`` in ``folder``."""
    start = time.perf_counter()
    graph = import_model(model)
    return build_graph(model, graph, options, folder, observe, time.perf_counter() - start)


def build_graph(
    model: Model,
    graph: Graph,
    options: BuildOptions,
    folder: Path,
    observe: Observer = lambda stage, ir: None,
    import_seconds: float = 0.0,
) -> Build:
    """The same for a model that is imported already, which took ``import_seconds``."""
    start = time.perf_counter()
    compiled = compile_graph(
        graph,
        options.target,
        observe,
        options.executor,
        options.params,
        options.objective,
        options.portable_c,
        options.records,
    )
    seconds = import_seconds + time.perf_counter() - start
    return build_compiled(model, compiled, options, folder, seconds)


def build_compiled(
    model: Model,
    compiled: Compiled,
    options: BuildOptions,
    folder: Path,
    compile_seconds: float = 0.0,
) -> Build:
    """The same for a network that is compiled already, for the target and executor of ``options``,
    which took ``compile_seconds``.
    """
    start = time.perf_counter()
    program = _link(compiled, options, folder)
    seconds = compile_seconds + time.perf_counter() - start
    image = None if options.target.is_native or program is None else read_elf(program)
    memory = None if image is None else read_memory(image, options.board, compiled)
    return Build(model, options, compiled, program, image, memory, seconds)


def _link(compiled: Compiled, options: BuildOptions, folder: Path) -> Path | None:
    """The program that the transport needs."""
    target, board = options.target, options.board
    kind = options.transport.program
    if kind == ELSEWHERE:
        return None
    if kind == STANDALONE:
        sources = _write_sources(compiled.sources, folder)
        runtime = crt_sources(target, board, options.executor)
    elif kind == RAM:
        sources = _write_sources(compiled.functions.sources, folder)
        return link_ram_program(compiled, options, sources, folder, folder / PROGRAM)
    else:
        assert kind == SERVER, kind
        sources = _write_sources(_server_files(compiled, board), folder)
        runtime = rpc_sources(board)
    return build_elf(
        options.toolchain,
        target,
        board,
        [*sources, *runtime],
        [folder, crt_include_dir()],
        folder / PROGRAM,
        optimize=options.optimize,
    )


def _server_files(compiled: Compiled, board: Board) -> Mapping[str, str]:
    limits = server_limits(board)
    return rpc_program(
        compiled.module,
        compiled.functions,
        session_memory_bytes(compiled),
        payload_bytes=limits.payload_bytes,
        blocks=limits.blocks,
    )


def _write_sources(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Writes the generated files and returns the C sources among them."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files if name.endswith(".c")]
