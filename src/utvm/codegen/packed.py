"""Kernels with the packed signature, and the registry that finds them by name.

In: a module and its memory plan. Out: one C file. A wrapper checks that it was called with as many
tensors as the kernel has operands and results, and that none is too small; it takes the kernel's
workspace from the runtime, calls the kernel and returns the workspace.
"""

from __future__ import annotations

from utvm.codegen.c_function import workspace_bytes
from utvm.codegen.c_layout import CALL, INDENT, comment, wrap_arguments
from utvm.codegen.graph_json import packed_symbol
from utvm.codegen.registry import registry_source
from utvm.ir.loop import Function, Module

# The parameters of every packed function: TVMBackendPackedCFunc of runtime.h.
PACKED_PARAMETERS = (
    "TVMValue *args",
    "int *type_codes",
    "int num_args",
    "TVMValue *ret_value",
    "int *ret_type_code",
    "void *resource_handle",
)


def packed_source(module: Module, prefix: str, banner: str) -> str:
    """The text of ``<prefix>_packed.c``; ``banner`` heads it."""
    functions = module.functions
    wrappers = [_wrapper(function, prefix) for function in functions]
    symbols = [packed_symbol(prefix, function.name) for function in functions]
    includes = [f'#include "{prefix}.h"', f'#include "{prefix}_kernels.h"', ""]
    return "\n".join([banner, *includes, *wrappers, registry_source(symbols, prefix)])


def _wrapper(function: Function, prefix: str) -> str:
    symbol = packed_symbol(prefix, function.name)
    operands = (*function.inputs, *function.outputs)
    sizes = ", ".join(str(buffer.size_bytes) for buffer in operands)
    count = len(operands)
    scratch = workspace_bytes(function)
    arguments = [f"TVMBackendTensorData(args, {i})" for i in range(count)]
    if scratch:
        arguments.append("workspace")
    call = wrap_arguments(f"{prefix}_{function.name}(", arguments, ");", INDENT, CALL)
    sizes_line = wrap_arguments(
        "static const uint32_t bytes[] = {", sizes.split(", "), "};", INDENT
    )
    lines = [
        *comment(function.comment[:1]),
        wrap_arguments(f"static int32_t {symbol}(", list(PACKED_PARAMETERS), ") {", ""),
        sizes_line,
        *([f"{INDENT}void *workspace;"] if scratch else []),
        f"{INDENT}int32_t status ="
        f" TVMBackendCheckTensors(args, type_codes, num_args, bytes, {count});",
        f"{INDENT}(void)ret_value;",
        f"{INDENT}(void)ret_type_code;",
        *([] if scratch else [f"{INDENT}(void)resource_handle;"]),
        *_return_on_error(),
    ]
    if not scratch:
        return "\n".join([*lines, call, f"{INDENT}return TVM_OK;", "}", ""])
    take = f"TVMBackendAllocWorkspace(resource_handle, {scratch}, &workspace)"
    give = f"TVMBackendFreeWorkspace(resource_handle, workspace, {scratch})"
    lines += [f"{INDENT}status = {take};", *_return_on_error(), call]
    return "\n".join([*lines, f"{INDENT}return {give};", "}", ""])


def _return_on_error() -> list[str]:
    return [f"{INDENT}if (status != TVM_OK) {{", f"{INDENT * 2}return status;", f"{INDENT}}}"]
