"""The program ``main`` of a network for the graph executor.

In: the module, and whether its parameters are loaded. Out: the text of one C file. The program sets
the runtime up, then answers every input record with an output record, like the ahead-of-time one.
"""

from __future__ import annotations

from utvm.codegen.c_layout import INDENT, wrap_arguments
from utvm.codegen.c_module import banner, prefix_of, title_of
from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Module

GRAPH_MEMORY = "graph_memory"
"""The variable that is the runtime's memory."""


def main_source(module: Module, loaded: bool) -> str:
    """The text of ``<prefix>_main.c``."""
    prefix = prefix_of(module)
    inputs = {f"input{i}": module.tensors[name] for i, name in enumerate(module.inputs)}
    outputs = {f"output{i}": module.tensors[name] for i, name in enumerate(module.outputs)}
    tensors = "".join(_tensor(name, buffer) for name, buffer in {**inputs, **outputs}.items())
    return f"""{_head(module)}
#include "{prefix}.h"

#include "utvm/platform.h"

{tensors}
static int64_t {GRAPH_MEMORY}[{prefix.upper()}_MEMORY_BYTES / 8];
static TVMRuntime runtime;

{_REPORT}
{_set_up(prefix, loaded)}
{_infer(module)}
{_streams(list(inputs), list(outputs))}
{_MAIN}"""


def _head(module: Module) -> str:
    return banner(
        f"A program that runs the network {title_of(module)} on the records of the input stream.",
        "A record is the inputs in order; what it answers is the outputs in order.",
    )


def _tensor(name: str, buffer: Buffer) -> str:
    """A buffer, and the tensor that describes it."""
    code = (
        "kDLFloat" if buffer.dtype.is_float else "kDLInt" if buffer.dtype.is_signed else "kDLUInt"
    )
    bits = 1 if buffer.dtype is DType.BOOL else buffer.dtype.bits
    shape, pointer = "", "NULL"
    if buffer.shape:
        extents = ", ".join(map(str, buffer.shape))
        shape, pointer = f"static int64_t {name}_shape[] = {{{extents}}};\n", f"{name}_shape"
    rank, kind = len(buffer.shape), f"{{{code}, {bits}, 1}}"
    fields = [name, "{kDLCPU, 0}", str(rank), kind, pointer, "NULL", "0"]
    described = f"static DLTensor {name}_tensor = {{\n{INDENT * 2}{', '.join(fields)},\n}};"
    return f"static {buffer.dtype.c_name} {name}[{buffer.elements}];\n{shape}{described}\n"


_REPORT = """\
/* Writes to the console with which operator something is wrong. */
static void report(void *log_context, int32_t status, const char *name, size_t name_bytes) {
  char letter[2] = {'\\0', '\\0'};
  (void)log_context;
  (void)status;
  utvm_platform_log("operator ");
  while (name_bytes-- > 0) {
    letter[0] = *name++;
    utvm_platform_log(letter);
  }
  utvm_platform_log(": ");
}
"""

_MAIN = """\
int main(void) {
  TVMGraphRuntime *graph;
  int got = UTVM_PLATFORM_READ;
  int32_t status;
  utvm_platform_init();
  status = set_up(&graph);
  while (status == TVM_OK && (got = read_record()) == UTVM_PLATFORM_READ) {
    status = infer(graph);
    if (status == TVM_OK && write_record() != UTVM_PLATFORM_OK) {
      return 1;
    }
  }
  if (status != TVM_OK) {
    utvm_platform_log(TVMStatusName(status));
    utvm_platform_log("\\n");
    return 1;
  }
  return got == UTVM_PLATFORM_END ? 0 : 1;
}
"""


def _set_up(prefix: str, loaded: bool) -> str:
    upper = prefix.upper()
    calls = [
        ("TVMInitializeRuntime", ["&runtime", "&config"]),
        ("TVMGraphRuntime_Create", ["&runtime", "json", "json_bytes", "graph"]),
    ]
    names = [("char", "json", "graph"), ("uint8_t", "params", "params")]
    if loaded:
        calls.append(("TVMGraphRuntime_LoadParams", ["*graph", "params", "params_bytes"]))
    lines = "".join(
        f"  const {type} *const {name} = {prefix}_{symbol};\n"
        f"  const size_t {name}_bytes = {upper}_{symbol.upper()}_BYTES;\n"
        for type, name, symbol in names[: 1 + loaded]
    )
    fields = [GRAPH_MEMORY, f"sizeof {GRAPH_MEMORY}", f"&{prefix}_registry"]
    head = "static const TVMRuntimeConfig config = {"
    config = wrap_arguments(head, [*fields, "report", "NULL"], "};", INDENT)
    return f"""\
/* Makes the runtime and, in its memory, the graph. */
static int32_t set_up(TVMGraphRuntime **graph) {{
{config}
{lines}{_steps(calls)}}}
"""


def _infer(module: Module) -> str:
    calls = [
        ("TVMGraphRuntime_SetInput", ["graph", f'"{name}"', f"&input{i}_tensor"])
        for i, name in enumerate(module.inputs)
    ]
    calls.append(("TVMGraphRuntime_Run", ["graph"]))
    calls += [
        ("TVMGraphRuntime_GetOutput", ["graph", str(i), f"&output{i}_tensor"])
        for i in range(len(module.outputs))
    ]
    return f"""\
/* Runs the network once. */
static int32_t infer(TVMGraphRuntime *graph) {{
{_steps(calls)}}}
"""


def _steps(calls: list[tuple[str, list[str]]]) -> str:
    """Calls one after the other, as long as they succeed, and the return of the last status."""
    (first, arguments), *others = calls
    lines = [f"{INDENT}int32_t status = {_call(first, arguments)}"]
    for function, arguments in others:
        call = f"{INDENT * 2}status = {_call(function, arguments)}"
        lines += [f"{INDENT}if (status == TVM_OK) {{", call, f"{INDENT}}}"]
    return "\n".join([*lines, f"{INDENT}return status;", ""])


def _call(function: str, arguments: list[str]) -> str:
    """A call that fits on one line: an input's name has at most 40 characters."""
    return f"{function}({', '.join(arguments)});"


def _streams(inputs: list[str], outputs: list[str]) -> str:
    first, *others = inputs
    reads = "".join(
        f"  if (got == UTVM_PLATFORM_READ &&\n"
        f"      utvm_platform_read({name}, sizeof {name}) != UTVM_PLATFORM_READ) {{\n"
        "    got = UTVM_PLATFORM_E_SHORT;\n  }\n"
        for name in others
    )
    writes = "".join(
        f"  if (utvm_platform_write({name}, sizeof {name}) != UTVM_PLATFORM_OK) {{\n"
        "    return UTVM_PLATFORM_E_STREAM;\n  }\n"
        for name in outputs
    )
    return f"""\
/* Reads all inputs; UTVM_PLATFORM_END if there is no further record. */
static int read_record(void) {{
  int got = utvm_platform_read({first}, sizeof {first});
{reads}  return got;
}}

static int write_record(void) {{
{writes}  return UTVM_PLATFORM_OK;
}}
"""
