"""Parameters apart from the code: the blob, and kernels that get their constants as operands.

Constants are called p0, p1, ... in the module's order. ``params_blob`` writes them as a list of
named tensors in TVM's format (SPEC.md). ``load_params`` makes of every constant of a kernel an
operand, and of the module's constants its inputs, so that a runtime can load them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from utvm.ir.dtype import DType, dtype_of
from utvm.ir.loop import Buffer, Function, KernelCall, Module

LIST_MAGIC = 0xF7E58D4F05049CB7
TENSOR_MAGIC = 0xDD5E40F096B4A13F
_CPU = 1
_INT, _UINT, _FLOAT = 0, 1, 2


def param_names(module: Module) -> dict[str, str]:
    """The parameters' names by the constants' names: p0, p1, ... unless a value is called so."""
    taken = {*module.tensors, *module.aliases}
    names: dict[str, str] = {}
    for i, constant in enumerate(module.constants):
        name = f"p{i}"
        while name in taken:
            name += "_"
        names[constant] = name
    return names


def params_of(module: Module) -> dict[str, np.ndarray]:
    """The constants by the names that they have as parameters."""
    return {name: module.constants[constant] for constant, name in param_names(module).items()}


def params_blob(params: Mapping[str, np.ndarray]) -> bytes:
    """The list of named tensors, all numbers little-endian."""
    parts = [struct.pack("<QQQ", LIST_MAGIC, 0, len(params))]
    for name in params:
        encoded = name.encode("ascii")
        parts += [struct.pack("<Q", len(encoded)), encoded]
    parts.append(struct.pack("<Q", len(params)))
    parts += map(_tensor, params.values())
    return b"".join(parts)


def _tensor(data: np.ndarray) -> bytes:
    dtype = dtype_of(data)
    code = _FLOAT if dtype.is_float else _INT if dtype.is_signed else _UINT
    bits = 1 if dtype is DType.BOOL else dtype.bits
    head = struct.pack("<QQiiiBBH", TENSOR_MAGIC, 0, _CPU, 0, data.ndim, code, bits, 1)
    content = data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes()
    return head + struct.pack(f"<{data.ndim}qq", *data.shape, len(content)) + content


def load_params(module: Module) -> Module:
    """The module with its parameters as inputs, behind the inputs that it has."""
    names = param_names(module)
    functions = {function.name: function for function in module.functions}

    def call_with(call: KernelCall) -> KernelCall:
        constants = functions[call.function].constants
        return replace(call, inputs=(*call.inputs, *(names[c.name] for c in constants)))

    tensors = {
        names[name]: Buffer(names[name], dtype_of(data), tuple(data.shape), "workspace")
        for name, data in module.constants.items()
    }
    return replace(
        module,
        inputs=(*module.inputs, *names.values()),
        functions=tuple(map(_with_operands, module.functions)),
        calls=tuple(map(call_with, module.calls)),
        tensors={**module.tensors, **tensors},
        constants={},
    )


def _with_operands(function: Function) -> Function:
    """The function with its constants as operands. Its body need not change: it names buffers."""
    operands = tuple(replace(buffer, scope="input") for buffer in function.constants)
    return replace(function, inputs=(*function.inputs, *operands), constants=())
