"""The functions of a network that a session calls: all its kernels, or one that runs all of it.

In: a module, its memory plan and, for the second kind, the files of an executor. Out:
``SessionFunctions``: C files without a ``main``, and the registry of the functions in them. What
runs the whole network is called ``tvmgen_<model>___tvm_main__``, as in TVM; its arguments are the
inputs and then the outputs. With the graph executor it makes the graph when it is first called, in
memory of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from utvm.codegen.c_graph_main import GRAPH_MEMORY
from utvm.codegen.c_layout import INDENT, wrap_arguments
from utvm.codegen.c_module import banner, kernel_files, prefix_of, title_of
from utvm.codegen.c_names import field_names
from utvm.codegen.graph_json import packed_symbol
from utvm.codegen.packed import PACKED_PARAMETERS, packed_source
from utvm.codegen.registry import registry_source
from utvm.ir.loop import Module
from utvm.ir.memory import MemoryPlan
from utvm.support.text import identifier


@dataclass(frozen=True, eq=False)
class SessionFunctions:
    """``header`` declares the ``registry``, a C name; ``names`` are in its order.

    ``arguments`` is the largest number of tensors that one of the functions takes.
    """

    sources: Mapping[str, str]
    header: str
    registry: str
    names: tuple[str, ...]
    arguments: int


def entry_symbol(network: str) -> str:
    """The C name of the function that runs the whole network of that name."""
    return f"tvmgen_{identifier(network)}___tvm_main__"


def kernel_functions(module: Module, plan: MemoryPlan) -> SessionFunctions:
    """All kernels, each a function of its own: the host calls them in the graph's order."""
    prefix, title = prefix_of(module), title_of(module)
    what = banner(f"The kernels of the network {title} as operators of the runtime.")
    header = f"{prefix}.h"
    return SessionFunctions(
        {
            header: _header(
                header,
                f"The operators of the network {title}.",
                f"extern const TVMFuncRegistry {prefix}_registry;",
            ),
            **kernel_files(module, plan),
            f"{prefix}_packed.c": packed_source(module, prefix, what),
        },
        header,
        f"{prefix}_registry",
        tuple(packed_symbol(prefix, function.name) for function in module.functions),
        max((len(f.inputs) + len(f.outputs) for f in module.functions), default=0),
    )


def entry_functions(
    module: Module, executor_sources: Mapping[str, str], *, graph: bool, loaded: bool = False
) -> SessionFunctions:
    """The one function that runs the network by the executor whose files are given.

    ``graph`` says which executor that is, ``loaded`` whether it loads its parameters.
    """
    prefix, title = prefix_of(module), title_of(module)
    symbol, registry = entry_symbol(module.name), f"{prefix}_entry_registry"
    header = f"{prefix}_entry.h"
    declared = "\n\n".join([
        wrap_arguments(f"int32_t {symbol}(", list(PACKED_PARAMETERS), ");", ""),
        f"extern const TVMFuncRegistry {registry};",
    ])  # fmt: skip
    body = _graph_entry(module, loaded) if graph else _aot_entry(module)
    what = f"The network {title} as one function that a session calls."
    entry = "\n".join([
        banner(what, "Its arguments are the inputs, then the outputs."),
        f'#include "{header}"\n\n#include "{prefix}.h"\n',
        body,
        registry_source((symbol,), f"{prefix}_entry"),
    ])  # fmt: skip
    sources = {n: text for n, text in executor_sources.items() if n != f"{prefix}_main.c"}
    return SessionFunctions(
        {**sources, header: _header(header, what, declared), f"{prefix}_entry.c": entry},
        header,
        registry,
        (symbol,),
        len(module.inputs) + len(module.outputs),
    )


def _header(name: str, what: str, declared: str) -> str:
    guard = name.upper().replace(".", "_")
    return f"""{banner(what)}
#ifndef {guard}
#define {guard}

#include "utvm/runtime.h"

{declared}

#endif
"""


def _aot_entry(module: Module) -> str:
    prefix = prefix_of(module)
    lines = [
        f"{INDENT}struct {prefix}_inputs inputs;",
        f"{INDENT}struct {prefix}_outputs outputs;",
        *_check(module),
        f"{INDENT}(void)resource_handle;",
        f"{INDENT}if (status != TVM_OK) {{\n{INDENT * 2}return status;\n{INDENT}}}",
    ]
    index = 0
    for kind, names in (("input", module.inputs), ("output", module.outputs)):
        for field in field_names(names):
            lines.append(f"{INDENT}{kind}s.{field} = TVMBackendTensorData(args, {index});")
            index += 1
    lines.append(f"{INDENT}return {prefix}_run(&inputs, &outputs);")
    return _function(module, lines)


def _graph_entry(module: Module, loaded: bool) -> str:
    """Inputs and outputs are copied: the graph has memory of its own for them."""
    prefix = prefix_of(module)
    steps = [
        f'TVMGraphRuntime_SetInput(graph, "{name}", {_tensor(i)})'
        for i, name in enumerate(module.inputs)
    ]
    steps.append("TVMGraphRuntime_Run(graph)")
    steps += [
        f"TVMGraphRuntime_GetOutput(graph, {i}, {_tensor(len(module.inputs) + i, const=False)})"
        for i in range(len(module.outputs))
    ]
    lines = [
        *_check(module),
        f"{INDENT}if (status == TVM_OK && graph == NULL) {{",
        f"{INDENT * 2}status = set_up(resource_handle);\n{INDENT}}}",
        *(_step(step) for step in steps),
        f"{INDENT}return status;",
    ]
    return f"""\
static int64_t {GRAPH_MEMORY}[{prefix.upper()}_MEMORY_BYTES / 8];
static TVMRuntime graph_runtime;
static TVMGraphRuntime *graph;

{_set_up(prefix, loaded)}
{_function(module, lines)}"""


def _set_up(prefix: str, loaded: bool) -> str:
    upper = prefix.upper()
    fields = [GRAPH_MEMORY, f"sizeof {GRAPH_MEMORY}", f"&{prefix}_registry"]
    fields += ["caller->config.log", "caller->config.log_context"]
    names = [("char", "json", "graph"), ("uint8_t", "params", "params")]
    variables = "".join(
        f"  const {type} *const {name} = {prefix}_{symbol};\n"
        f"  const size_t {name}_bytes = {upper}_{symbol.upper()}_BYTES;\n"
        for type, name, symbol in names[: 1 + loaded]
    )
    load = """\
  if (status == TVM_OK) {
    status = TVMGraphRuntime_LoadParams(graph, params, params_bytes);
  }
"""
    return f"""\
/* Makes the graph; what is wrong with an operator is logged where the caller logs. */
static int32_t set_up(const TVMRuntime *caller) {{
{wrap_arguments("const TVMRuntimeConfig config = {", fields, "};", INDENT)}
{variables}\
  int32_t status = TVMInitializeRuntime(&graph_runtime, &config);
  if (status == TVM_OK) {{
    status = TVMGraphRuntime_Create(&graph_runtime, json, json_bytes, &graph);
  }}
{load if loaded else ""}\
  if (status != TVM_OK) {{
    graph = NULL;
  }}
  return status;
}}
"""


def _tensor(index: int, const: bool = True) -> str:
    return f"({'const ' if const else ''}DLTensor *)args[{index}].v_handle"


def _step(call: str) -> str:
    """A call that is made as long as all went well. An input's name has at most 40 characters."""
    head, arguments = call.split("(", 1)
    wrapped = wrap_arguments(
        f"status = {head}(", arguments.removesuffix(")").split(", "), ");", INDENT * 2
    )
    return f"{INDENT}if (status == TVM_OK) {{\n{wrapped}\n{INDENT}}}"


def _check(module: Module) -> list[str]:
    """The sizes of all tensors, and their check, which makes the variable ``status``."""
    tensors = [module.tensors[name] for name in (*module.inputs, *module.outputs)]
    sizes = [str(tensor.size_bytes) for tensor in tensors]
    check = f"TVMBackendCheckTensors(args, type_codes, num_args, bytes, {len(tensors)})"
    return [
        wrap_arguments("static const uint32_t bytes[] = {", sizes, "};", INDENT),
        f"{INDENT}int32_t status = {check};",
        f"{INDENT}(void)ret_value;",
        f"{INDENT}(void)ret_type_code;",
    ]


def _function(module: Module, lines: list[str]) -> str:
    head = wrap_arguments(
        f"int32_t {entry_symbol(module.name)}(", list(PACKED_PARAMETERS), ") {", ""
    )
    return "\n".join([head, *lines, "}", ""])
