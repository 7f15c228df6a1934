"""A network whose graph stays on the host: its kernels are called one by one over a session.

In: a compiled network and a session with a device that has its kernels (``generate_rpc_c``). Out:
outputs, row by row. Values lie in device memory as the memory plan places them, in one block, so
that the device needs no more than with the other executors; inputs and outputs have their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from utvm.codegen.c_function import aligned, workspace_bytes
from utvm.codegen.c_module import prefix_of
from utvm.codegen.graph_json import packed_symbol
from utvm.device.session import DeviceTensor, Function, Session
from utvm.driver.pipeline import Compiled
from utvm.driver.tensors import Rows
from utvm.ir.loop import Module

_BLOCK_BYTES = 8  # what the runtime puts in front of each block


def rpc_memory_bytes(compiled: Compiled) -> int:
    """The runtime memory that ``RpcGraph`` and the kernels' workspaces need on the device."""
    module = compiled.module
    own = [module.tensors[name].size_bytes for name in _own_memory(module)]
    scratch = max((workspace_bytes(f) for f in module.functions), default=0)
    return sum(aligned(size) + _BLOCK_BYTES for size in [compiled.plan.arena_bytes, *own]) + scratch


@dataclass(frozen=True)
class _Step:
    function: Function
    tensors: tuple[DeviceTensor, ...]


class RpcGraph:
    """A network on a device; it owns the device memory that it allocates."""

    def __init__(self, compiled: Compiled, session: Session) -> None:
        self._module = module = compiled.module
        self._session = session
        arena = session.allocate(compiled.plan.arena_bytes)
        self._addresses = {
            name: arena + placement.offset for name, placement in compiled.plan.values.items()
        }
        for name in _own_memory(module):
            self._addresses[name] = session.allocate(module.tensors[name].size_bytes)
        self._blocks = [arena, *(self._addresses[name] for name in _own_memory(module))]
        prefix = prefix_of(module)
        functions = {
            f.name: session.function(packed_symbol(prefix, f.name)) for f in module.functions
        }
        self._steps = [
            _Step(functions[c.function], tuple(self.tensor(n) for n in (*c.inputs, *c.outputs)))
            for c in module.calls
        ]

    @property
    def steps(self) -> tuple[tuple[Function, tuple[DeviceTensor, ...]], ...]:
        """Every call with its tensors, in order: for timing operators by themselves."""
        return tuple((step.function, step.tensors) for step in self._steps)

    def tensor(self, name: str) -> DeviceTensor:
        """Where a value of the network lies on the device."""
        buffer = self._module.tensors[name]
        return DeviceTensor(
            self._addresses[self._module.root(name)], buffer.shape, buffer.dtype.numpy
        )

    def run(self, inputs: Rows) -> Rows:
        """The outputs for each row of the inputs."""
        results: list[list[np.ndarray]] = [[] for _ in self._module.outputs]
        for row in range(len(inputs[0])):
            for name, rows in zip(self._module.inputs, inputs, strict=True):
                tensor = self.tensor(name)
                data = np.ascontiguousarray(rows[row], tensor.dtype)
                self._session.write(tensor.address, data.tobytes())
            for step in self._steps:
                self._session.call(step.function, step.tensors)
            for result, name in zip(results, self._module.outputs, strict=True):
                tensor = self.tensor(name)
                raw = self._session.read(tensor.address, tensor.size_bytes)
                result.append(np.frombuffer(raw, tensor.dtype, prod(tensor.shape)))
        return tuple(
            np.stack(result).reshape(len(result), *self._module.tensors[name].shape)
            for result, name in zip(results, self._module.outputs, strict=True)
        )

    def close(self) -> None:
        """Returns the device memory."""
        for address in reversed(self._blocks):
            self._session.free(address)
        self._session.flush()


def _own_memory(module: Module) -> tuple[str, ...]:
    """Inputs and outputs that are not another's memory: they lie outside of the arena."""
    return tuple(dict.fromkeys(module.root(n) for n in (*module.inputs, *module.outputs)))
