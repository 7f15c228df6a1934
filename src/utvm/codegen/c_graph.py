"""A lowered network as C99 for the graph executor.

In: the module, its memory plan, and whether its parameters are linked or loaded. Out: a
``GraphProgram``: file names and texts, the graph, and its JSON. The kernels are those of the
ahead-of-time executor; in place of its ``run`` function stand packed functions with their registry,
the graph as JSON, and a ``main`` that uses the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from utvm.codegen.c_graph_main import main_source
from utvm.codegen.c_layout import WIDTH
from utvm.codegen.c_module import banner, check_inputs, kernel_files, prefix_of, title_of
from utvm.codegen.graph_json import graph_json
from utvm.codegen.graph_layout import GraphLayout, graph_layout, runtime_memory_bytes
from utvm.codegen.packed import packed_source
from utvm.codegen.params import load_params, params_blob, params_of
from utvm.ir.loop import Module
from utvm.ir.memory import MemoryPlan

_HEX_PER_LINE = (WIDTH - 4) // 6


@dataclass(frozen=True, eq=False)
class GraphProgram:
    """What the code generator makes for the graph executor."""

    sources: Mapping[str, str]
    layout: GraphLayout
    json: str


def generate_graph_c(module: Module, plan: MemoryPlan, loaded: bool) -> GraphProgram:
    """All files of the bundle's ``codegen`` folder; ``loaded`` parameters are its inputs."""
    check_inputs(module)
    prefix = prefix_of(module)
    called = load_params(module) if loaded else module
    layout = graph_layout(called, plan)
    text = graph_json(layout, prefix)
    kernels = kernel_files(called, plan)
    sources = {
        f"{prefix}.h": _header(module, layout, text, loaded),
        **kernels,
        f"{prefix}_packed.c": packed_source(
            called,
            prefix,
            banner(f"The kernels of the network {title_of(module)} as operators of the runtime."),
        ),
        f"{prefix}_graph.c": _graph_source(module, text),
        f"{prefix}_main.c": main_source(module, loaded),
    }
    if loaded:
        sources[f"{prefix}_params.c"] = _blob_source(module)
    return GraphProgram(sources, layout, text)


def _header(module: Module, layout: GraphLayout, text: str, loaded: bool) -> str:
    prefix = prefix_of(module)
    upper = prefix.upper()
    what = f"The network {title_of(module)} for the graph executor: graph, operators, memory."
    blob = (
        f"""
/* The parameters, for TVMGraphRuntime_LoadParams. */
#define {upper}_PARAMS_BYTES {len(params_blob(params_of(module)))}
extern const uint8_t {prefix}_params[];
"""
        if loaded
        else ""
    )
    small, large = (runtime_memory_bytes(layout, pointer) for pointer in (4, 8))
    memory = f"#define {upper}_MEMORY_BYTES (sizeof(void *) == 4 ? {small} : {large})"
    if len(memory) > WIDTH:
        memory = memory.replace("BYTES (", "BYTES \\\n  (")
    return f"""{banner(what)}
#ifndef {upper}_H
#define {upper}_H

#include "utvm/runtime.h"

#ifdef __cplusplus
extern "C" {{
#endif

/* The graph, for TVMGraphRuntime_Create. */
#define {upper}_GRAPH_BYTES {len(text)}
extern const char {prefix}_graph[];

/* The bytes that one such graph takes of a runtime's memory, with pointers of 4 and of 8 bytes. */
{memory}

/* The operators, for TVMInitializeRuntime. */
extern const TVMFuncRegistry {prefix}_registry;
{blob}
#ifdef __cplusplus
}}
#endif

#endif
"""


def _graph_source(module: Module, text: str) -> str:
    """The JSON as C text, line by line."""
    prefix = prefix_of(module)
    lines = [line.replace('"', '\\"') for line in text.splitlines()]
    quoted = "\n".join(f'    "{line}\\n"' for line in lines)
    return f"""{banner(f"The graph of the network {title_of(module)}: TVM's format, see SPEC.md.")}
#include "{prefix}.h"

/* clang-format off */
const char {prefix}_graph[] =
{quoted};
/* clang-format on */
"""


def _blob_source(module: Module) -> str:
    prefix = prefix_of(module)
    blob = params_blob(params_of(module))
    lines = [
        "    " + " ".join(f"0x{byte:02x}," for byte in blob[at : at + _HEX_PER_LINE])
        for at in range(0, len(blob), _HEX_PER_LINE)
    ]
    content = "\n".join(lines)
    return f"""{banner(f"The parameters of the network {title_of(module)}: see SPEC.md.")}
#include "{prefix}.h"

/* clang-format off */
const uint8_t {prefix}_params[{prefix.upper()}_PARAMS_BYTES] = {{
{content}
}};
/* clang-format on */
"""
