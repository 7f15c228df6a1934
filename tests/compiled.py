"""Compiles graphs to C, builds the program and runs it: what tests compare with a reference.

In: graphs (or TFLite models) with one array per input. Out: one array per output. ``run_graphs``
and ``run_models`` take many networks at once and put them side by side into ONE program, because a
build costs far more than a test case. ``target`` is ``host`` (native) or a Cortex-M, which runs on
the emulator.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from utvm.device.crt import crt_include_dir, crt_sources
from utvm.device.elf import read_elf
from utvm.device.emulator import MemoryRegion, run_elf
from utvm.device.host import run_host
from utvm.device.link import build_elf
from utvm.device.toolchain import find_toolchain
from utvm.driver.pipeline import Compiled, compile_graph
from utvm.importers.tflite import import_tflite
from utvm.ir.graph import Graph, Node, Value
from utvm.op.registry import find_op
from utvm.target.board import load_board
from utvm.target.target import load_target

Array = npt.NDArray[Any]
Case = tuple[Graph, Sequence[npt.ArrayLike]]


def run_graph(
    graph: Graph, inputs: Sequence[npt.ArrayLike], target: str = "host", toolchain: str = "zig"
) -> list[Array]:
    """The outputs of one invocation of a graph."""
    return run_graphs([(graph, inputs)], target, toolchain)[0]


def run_models(
    models: Sequence[tuple[bytes, Sequence[npt.ArrayLike]]],
    target: str = "host",
    toolchain: str = "zig",
) -> list[list[Array]]:
    """The outputs of each TFLite model on its inputs."""
    cases = [(import_tflite(m, name="model", find_op=find_op), arrays) for m, arrays in models]
    return run_graphs(cases, target, toolchain)


def measure_models(
    models: Sequence[tuple[bytes, Sequence[npt.ArrayLike]]], target: str, objective: str
) -> list[tuple[list[Array], int, int]]:
    """The outputs of each TFLite model, its multiply-accumulates and cycles (0 on the host)."""
    cases = [(import_tflite(m, name="model", find_op=find_op), arrays) for m, arrays in models]
    results, compiled, cycles = _run_graphs(cases, target, "zig", objective)
    kernels = {function.name: symbol for symbol, function in compiled.operator_symbols.items()}
    macs_of = {function.name: function.macs for function in compiled.module.functions}
    macs, spent = [0] * len(models), [0] * len(models)
    for call in compiled.module.calls:
        number = int(call.outputs[0].rpartition("_g")[2].partition("_")[0])
        macs[number] += macs_of[call.function]
        spent[number] += cycles.get(kernels[call.function], 0)
    return list(zip(results, macs, spent, strict=True))


def run_graphs(
    cases: Sequence[Case],
    target: str = "host",
    toolchain: str = "zig",
    objective: str = "balanced",
) -> list[list[Array]]:
    """The outputs of each graph on its inputs, all in one program."""
    return _run_graphs(cases, target, toolchain, objective)[0]


def _run_graphs(
    cases: Sequence[Case], target: str, toolchain: str, objective: str = "balanced"
) -> tuple[list[list[Array]], Compiled, dict[str, int]]:
    """The same, with what was compiled and the cycles of its kernels."""
    graph = side_by_side([graph for graph, _ in cases])
    arrays = [np.asarray(array) for _, inputs in cases for array in inputs]
    assert len(arrays) == len(graph.inputs), "one array per input"
    stream = b"".join(
        np.ascontiguousarray(array, graph.values[name].dtype.numpy)
        .reshape(graph.values[name].shape)
        .tobytes()
        for name, array in zip(graph.inputs, arrays, strict=True)
    )
    compiled = compile_graph(graph, load_target(target), objective=objective)
    raw, cycles = _run(compiled, stream, target, toolchain)
    results, offset = [], 0
    for single, _ in cases:
        outputs = []
        for name in single.outputs:
            type = single.values[name].type
            data = np.frombuffer(raw, type.dtype.numpy, type.elements, offset)
            outputs.append(data.reshape(type.shape))
            offset += type.size_bytes
        results.append(outputs)
    assert offset == len(raw), "one record came back"
    return results, compiled, cycles


def side_by_side(graphs: Sequence[Graph]) -> Graph:
    """One graph that computes all of them, in order; names get the graph's number."""
    values: dict[str, Value] = {}
    constants: dict[str, Array] = {}
    nodes: list[Node] = []
    inputs: list[str] = []
    outputs: list[str] = []
    for number, graph in enumerate(graphs):
        new = {name: f"{name}_g{number}" for name in graph.values}
        values |= {new[n]: replace(value, name=new[n]) for n, value in graph.values.items()}
        constants |= {new[name]: data for name, data in graph.constants.items()}
        nodes += [_renamed(node, new) for node in graph.nodes]
        inputs += [new[name] for name in graph.inputs]
        outputs += [new[name] for name in graph.outputs]
    return Graph("cases", tuple(inputs), tuple(outputs), tuple(nodes), values, constants)


def _renamed(node: Node, new: Mapping[str, str]) -> Node:
    return replace(
        node,
        inputs=tuple(new[name] for name in node.inputs),
        outputs=tuple(new[name] for name in node.outputs),
    )


def _run(
    compiled: Compiled, stream: bytes, target_name: str, toolchain_name: str
) -> tuple[bytes, dict[str, int]]:
    """The output stream of the program that ``compiled`` becomes, and the cycles of kernels."""
    target = load_target(target_name)
    board = load_board(target.default_board)
    toolchain = find_toolchain(toolchain_name, target)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in compiled.sources.items():
            (folder / file).write_text(text, encoding="utf-8")
        sources = [folder / file for file in compiled.sources if file.endswith(".c")]
        sources += crt_sources(target, board)
        elf = folder / "model.elf"
        build_elf(toolchain, target, board, sources, [folder, crt_include_dir()], elf)
        if board.run == "host":
            return run_host(elf, stream), {}
        image = read_elf(elf)
    symbols = image.symbols
    result = run_elf(
        image,
        cpu=target.cpu,
        cycle_model=target.cycle_model,
        memories=[
            MemoryRegion(m.name, m.origin, m.size_bytes, m.kind == "ram", True)
            for m in board.memories
        ],
        stack=(symbols["__utvm_stack_low"].address, symbols["__utvm_stack_top"].address),
        files={"utvm_in.bin": stream},
        measure=compiled.run_symbol,
        operators=list(compiled.operator_symbols),
    )
    assert result.exit_status == 0, result.console
    cycles = {f.symbol: f.cycles for f in result.invocations[-1].functions}
    return result.files["utvm_out.bin"], cycles
