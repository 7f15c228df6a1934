"""The graph executor's files: what they hold, and that the runtime does with them what was said.

Golden files show one small network. The memory that the runtime takes on a device is compared with
the forecast, byte for byte, and the graph also runs without utvm's additions to the format.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.codegen.networks import NETWORKS
from tests.codegen.test_c_function import formatted
from tests.codegen.test_c_module import (
    HOSTILE,
    assert_harmless,
    check_warnings,
    network,
)
from tests.compiled import side_by_side
from tests.crt.programs import run
from tests.random_networks import random_network
from utvm.codegen.graph_layout import STRUCTURES, GraphLayout, runtime_memory_bytes
from utvm.device.crt import CRT, crt_include_dir, crt_sources
from utvm.device.link import build_elf
from utvm.device.toolchain import find_toolchain
from utvm.driver.pipeline import Compiled, compile_graph
from utvm.importers.tflite import import_tflite
from utvm.ir.graph import Graph
from utvm.op.registry import find_op
from utvm.target.board import load_board
from utvm.target.target import load_target

ADDITIONS = ("storage_offset", "workspace_offset", "workspace_bytes")
PARAMS = ("linked", "loaded")


def compiled(graph: Graph, params: str = "linked", target: str = "cortex-m4") -> Compiled:
    return compile_graph(graph, load_target(target), executor="graph", params=params)


def layout_of(program: Compiled) -> GraphLayout:
    assert program.program is not None
    return program.program.layout


def output_of(
    sources: Mapping[str, str],
    target_name: str,
    stream: bytes,
    folder: Path,
    toolchain: str = "zig",
) -> bytes:
    """What the program of these files answers."""
    target = load_target(target_name)
    board = load_board(target.default_board)
    for file, text in sources.items():
        (folder / file).write_text(text, encoding="ascii")
    files = [folder / file for file in sources if file.endswith(".c")]
    files += crt_sources(target, board, "graph")
    include = [folder, crt_include_dir()]
    found = find_toolchain(toolchain, target)
    elf = build_elf(found, target, board, files, include, folder / "program.elf")
    return run(elf, board.name, stream, folder)


def random_case(dtype: str) -> tuple[Graph, bytes]:
    """Many random networks as one, and one record for it."""
    cases = [random_network(seed, dtype) for seed in range(8)]
    graphs = [import_tflite(model, name="net", find_op=find_op) for model, _ in cases]
    return side_by_side(graphs), b"".join(np.ascontiguousarray(x).tobytes() for _, x in cases)


@pytest.mark.parametrize("params", PARAMS)
def test_golden(params: str, golden: Callable[[str, str], None]) -> None:
    program = compiled(NETWORKS["residual"](), params)
    for file, text in program.sources.items():
        if params == "linked" or file.endswith(("_main.c", "_kernels.h", "_graph.c")):
            golden(f"graph_executor/residual_{params}/{file}", text)


@pytest.mark.parametrize("params", PARAMS)
@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_warnings_and_the_layout_is_kept(
    tmp_path: Path, name: str, toolchain: str, params: str
) -> None:
    for file, text in compiled(NETWORKS[name](), params).sources.items():
        (tmp_path / file).write_text(text, encoding="ascii")
        assert formatted(text) == text
    check_warnings(tmp_path, "cortex-m4", toolchain)


@pytest.mark.parametrize("name", ["quiet", "x" * 200, "coral_mobilenet_v1_uint8"])
def test_layout_is_kept_whatever_the_network_is_called(name: str) -> None:
    for make in NETWORKS.values():
        for text in compiled(replace(make(), name=name), "loaded").sources.values():
            assert formatted(text) == text


@pytest.mark.parametrize("params", PARAMS)
def test_hostile_names_stay_out(tmp_path: Path, params: str) -> None:
    program = compiled(network(HOSTILE), params)
    # What stands in C strings is looked at first: words, escapes of the compiler's own, and JSON.
    for file, text in program.sources.items():
        code = re.sub(r'#include ".*"', "", text)
        strings = re.findall(r'"(?:\\.|[^"\\])*"', code)
        for string in strings:
            inner = re.sub(r'\\(["n0]|[0-7]{3})', "", string[1:-1])
            assert re.fullmatch(r"[\w {}\[\]:,.()]*", inner, re.ASCII), string
            text = text.replace(string, '""' if string != '"C"' else string)
        assert_harmless({file: text.replace("'\\0'", "0").replace('""', "0")})
    names = [node["name"] for node in json.loads(_json(program))["nodes"]]
    assert all(re.fullmatch(r"\w+", name, re.ASCII) for name in names)


def _stem(program: Compiled) -> str:
    (header,) = (f for f in program.sources if f.endswith(".h") and not f.endswith("_kernels.h"))
    return header.removeprefix("tvmgen_").removesuffix(".h")


def _json(program: Compiled) -> str:
    assert program.program is not None
    return program.program.json


def test_text_is_a_graph_of_the_format() -> None:
    program = compiled(NETWORKS["residual"](), "loaded")
    graph = json.loads(_json(program))
    layout = layout_of(program)
    nodes = graph["nodes"]
    assert set(graph) == {"nodes", "arg_nodes", "heads", "node_row_ptr", "attrs"}
    assert graph["arg_nodes"] == [i for i, node in enumerate(nodes) if node["op"] == "null"]
    assert graph["node_row_ptr"][-1] == len(layout.tensors)
    for key in ("shape", "dltype", "storage_id", "storage_offset"):
        kind, values = graph["attrs"][key]
        assert kind in ("list_shape", "list_str", "list_int")
        assert len(values) == len(layout.tensors)
    names = [node["name"] for node in nodes if node["op"] == "null"]
    count = len(program.module.constants)
    assert names == [*program.module.inputs, *(f"p{i}" for i in range(count))]


@pytest.mark.parametrize(("target", "pointer"), [("cortex-m4", 4), ("host", 8)])
def test_structures_have_the_sizes_that_the_forecast_takes(
    tmp_path: Path, target: str, pointer: int
) -> None:
    """The compiler refuses an array of a negative size."""
    names = ("struct TVMGraphRuntime", "DLTensor", "GraphOperator", "GraphInput")
    lines = ['#include "graph.h"'] + [
        f"extern char check_{i}[sizeof({name}) == {size} ? 1 : -1];"
        for i, (name, size) in enumerate(zip(names, STRUCTURES[pointer], strict=True))
    ]
    source = tmp_path / "sizes.c"
    source.write_text("\n".join([*lines, ""]), encoding="ascii")
    found = find_toolchain("zig", load_target(target))
    folders = [crt_include_dir(), CRT / "src"]
    command = found.compile_command(load_target(target), source, "sizes.o", folders, "-O1")
    environment = dict(found.environment(tmp_path))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def reporting(program: Compiled) -> dict[str, str]:
    """The program, writing the peaks of memory and workspaces as its last eight bytes."""
    main = f"tvmgen_{_stem(program)}_main.c"
    end = "  return got == UTVM_PLATFORM_END ? 0 : 1;\n"
    peaks = (
        "  uint32_t peaks[2];\n  peaks[0] = (uint32_t)runtime.memory_peak_bytes;\n"
        "  peaks[1] = (uint32_t)runtime.workspace_peak_bytes;\n"
        "  return utvm_platform_write(peaks, sizeof peaks) == UTVM_PLATFORM_OK ? 0 : 1;\n"
    )
    text = program.sources[main]
    assert text.count(end) == 1
    return {**program.sources, main: text.replace(end, peaks)}


@pytest.mark.parametrize("params", PARAMS)
@pytest.mark.parametrize(("target", "pointer"), [("cortex-m4", 4), ("host", 8)])
def test_memory_is_what_the_forecast_says(
    tmp_path: Path, target: str, pointer: int, params: str
) -> None:
    graph, stream = random_case("int8")
    program = compiled(graph, params, target)
    raw = output_of(reporting(program), target, stream, tmp_path)
    memory, workspaces = np.frombuffer(raw[-8:], "<u4")
    layout = layout_of(program)
    assert memory == runtime_memory_bytes(layout, pointer)
    assert workspaces == max(node.workspace[1] for node in layout.nodes) > 0


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
def test_executors_agree_and_additions_are_optional(tmp_path: Path, dtype: str) -> None:
    """Straight C, the graph, the graph with loaded parameters, the graph as TVM would write it."""
    graph, stream = random_case(dtype)
    straight = compile_graph(graph, load_target("host"))
    outputs = []
    plain = compiled(graph, "linked", "host")
    variants = {
        "aot": dict(straight.sources),
        "linked": dict(plain.sources),
        "loaded": dict(compiled(graph, "loaded", "host").sources),
        "plain": without_additions(plain),
    }
    for name, sources in variants.items():
        (tmp_path / name).mkdir()
        outputs.append(output_of(sources, "host", stream, tmp_path / name))
    assert len(outputs[0]) == sum(graph.values[n].type.size_bytes for n in graph.outputs)
    assert outputs[1:] == outputs[:1] * 3


def without_additions(program: Compiled) -> dict[str, str]:
    """The files with a graph that has only what the format of TVM has, and with memory for it."""
    prefix = f"tvmgen_{_stem(program)}"
    graph = json.loads(_json(program))
    for key in ADDITIONS:
        del graph["attrs"][key]
    text = json.dumps(graph)
    quoted = text.replace('"', '\\"')
    upper = prefix.upper()
    header = program.sources[f"{prefix}.h"]
    for what, value in (("GRAPH_BYTES", len(text)), ("MEMORY_BYTES", 1 << 22)):
        header, count = re.subn(rf"(#define {upper}_{what}) .*", rf"\1 {value}", header)
        assert count == 1
    array = f'#include "{prefix}.h"\nconst char {prefix}_graph[] = "{quoted}";\n'
    return {**program.sources, f"{prefix}.h": header, f"{prefix}_graph.c": array}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float32"])
def test_storages_are_shared_only_by_what_never_lives_together(dtype: str) -> None:
    graph, _ = random_case(dtype)
    layout = layout_of(compiled(graph))
    lives: dict[tuple[int, int], tuple[int, int, Any]] = {}
    number = 0
    uses = {head: len(layout.nodes) for head in layout.heads}
    for i, node in enumerate(layout.nodes):
        uses |= {reference: max(uses.get(reference, 0), i) for reference in node.inputs}
    for i, node in enumerate(layout.nodes):
        for position, tensor in enumerate(node.tensors):
            first = 0 if not node.function else i
            last = uses.get((i, position), i) if node.function else len(layout.nodes)
            lives[i, position] = (first, last, tensor)
            number += 1
    shared = 0
    for (_, (_, end, one)), (_, (start, _, other)) in combinations(lives.items(), 2):
        if one.storage == other.storage:
            # The same moment is allowed only for one that takes over the other's place.
            assert end < start or (end >= start and one.offset == other.offset)
            shared += 1
    assert shared > 0


def test_a_value_called_like_a_parameter_keeps_its_name() -> None:
    graph = NETWORKS["residual"]()
    program = compiled(replace(graph, name="p"), "loaded")
    names = [node.name for node in layout_of(program).nodes if not node.function]
    assert len(names) == len(set(names))
    hostile = compiled(network(("p0", "p1", "p2")), "loaded")
    names = [node.name for node in layout_of(hostile).nodes if not node.function]
    assert len(names) == len(set(names)) > 3
