"""From a model to a linked program: import, compile, write the C, compile and link that.

In: a model, options, and a folder of which this is the only user. Out: a ``Build`` with everything
known about the program before it runs. Below the folder: the generated C and headers,
``model.elf`` and ``model.map``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from utvm.device.crt import crt_include_dir, crt_sources
from utvm.device.elf import ElfImage, read_elf
from utvm.device.link import build_elf
from utvm.driver.load import Model, import_model
from utvm.driver.memory import Memory, read_memory
from utvm.driver.options import BuildOptions
from utvm.driver.pipeline import Compiled, Observer, compile_graph
from utvm.ir.graph import Graph, Value

PROGRAM = "model.elf"


@dataclass(frozen=True, eq=False)
class Build:
    """A program. ``image`` and ``memory`` are None for a native one.

    ``compile_seconds`` is the time from the model's bytes to the linked program.
    """

    model: Model
    options: BuildOptions
    compiled: Compiled
    program: Path
    image: ElfImage | None
    memory: Memory | None
    compile_seconds: float

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
    target, board = options.target, options.board
    compiled = compile_graph(graph, target, observe, options.executor, options.params)
    program = build_elf(
        options.toolchain,
        target,
        board,
        [*_write_sources(compiled, folder), *crt_sources(target, board, options.executor)],
        [folder, crt_include_dir()],
        folder / PROGRAM,
        optimize=options.optimize,
    )
    seconds = import_seconds + time.perf_counter() - start
    image = None if target.is_native else read_elf(program)
    memory = None if image is None else read_memory(image, board, compiled)
    return Build(model, options, compiled, program, image, memory, seconds)


def _write_sources(compiled: Compiled, folder: Path) -> list[Path]:
    """Writes the generated files and returns the C sources among them."""
    for name, text in compiled.sources.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in compiled.sources if name.endswith(".c")]
