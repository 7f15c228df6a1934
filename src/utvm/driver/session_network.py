"""A network on a device behind a session, whatever executor runs it there.

In: a compiled network and a session with a device that has its functions (``codegen/c_entry.py``).
Out: outputs, row by row, and what each call cost. With the executor ``host`` the graph stays here
and its kernels are called one by one: values lie in device memory as the memory plan places them,
in one block, so that the device needs no more than with the others. With ``aot`` and ``graph`` one
function runs the whole network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from utvm.codegen.c_entry import entry_symbol
from utvm.codegen.c_function import aligned, workspace_bytes
from utvm.codegen.c_module import prefix_of
from utvm.codegen.graph_json import packed_symbol
from utvm.codegen.params import params_of
from utvm.device.session import DeviceTensor, Function, Session, StatusError, Timing
from utvm.driver.pipeline import Compiled
from utvm.driver.tensors import Rows
from utvm.ir.loop import Module
from utvm.support.errors import InputError

_BLOCK_BYTES = 8  # what the runtime puts in front of each block
_NO_FUNCTION = -9


def session_memory_bytes(compiled: Compiled, head_bytes: int = _BLOCK_BYTES) -> int:
    """The memory for tensors and workspaces that a ``SessionNetwork`` needs on the device, where
    each block has a head of so many bytes.
    """
    blocks = [size for size, _ in _blocks(compiled)]
    scratch = 0
    if compiled.executor == "host":
        scratch = max((workspace_bytes(f) for f in compiled.module.functions), default=0)
    return sum(aligned(size) + head_bytes for size in blocks) + scratch


@dataclass(frozen=True)
class Step:
    """One call: a kernel (``name`` is its name in the module), or the network (``name`` empty)."""

    name: str
    function: Function
    tensors: tuple[DeviceTensor, ...]


class SessionNetwork:
    """A network on a device; it owns the device memory that it allocates."""

    def __init__(self, compiled: Compiled, session: Session) -> None:
        self._module = compiled.called
        self._session = session
        self._addresses: dict[str, int] = {}
        self._allocated: list[int] = []
        functions = {name: self._function(symbol) for name, symbol in _symbols(compiled).items()}
        for size, offsets in _blocks(compiled):
            address = session.allocate(size)
            self._allocated.append(address)
            self._addresses |= {name: address + offset for name, offset in offsets.items()}
        self.steps = self._steps(compiled, functions)
        """Every call in order, for timing one by itself."""
        if compiled.loaded and compiled.executor == "host":
            for name, data in params_of(compiled.module).items():
                self._write(name, data)

    def tensor(self, name: str) -> DeviceTensor:
        """Where a value of the network lies on the device."""
        buffer = self._module.tensors[name]
        address = self._addresses.get(name)
        if address is None:
            address = self._addresses[self._module.root(name)]
        return DeviceTensor(address, buffer.shape, buffer.dtype.numpy)

    def run(self, inputs: Rows, progress: Callable[[int], None] | None = None) -> Rows:
        """The outputs for each row of the inputs. Calls are queued as far as the session can."""

        def call() -> None:
            for step in self.steps:
                self._session.call(step.function, step.tensors)

        return self._rows(inputs, call, progress)

    def measure(
        self, inputs: Rows, progress: Callable[[int], None] | None = None
    ) -> tuple[Rows, list[tuple[Timing, ...]]]:
        """The same, and what each step took in each row, by the device's counter."""
        timings: list[tuple[Timing, ...]] = []

        def call() -> None:
            timings.append(tuple(self._session.time(s.function, s.tensors) for s in self.steps))

        return self._rows(inputs, call, progress), timings

    def close(self) -> None:
        """Returns the device memory."""
        for address in reversed(self._allocated):
            self._session.free(address)
        self._session.flush()

    def _rows(
        self, inputs: Rows, call: Callable[[], None], progress: Callable[[int], None] | None
    ) -> Rows:
        outputs = self._module.outputs
        results: list[list[np.ndarray]] = [[] for _ in outputs]
        for row in range(len(inputs[0])):
            # Parameters that are inputs of the graph stand behind the network's own inputs.
            for name, rows in zip(self._module.inputs, inputs, strict=False):
                self._write(name, rows[row])
            call()
            for result, name in zip(results, outputs, strict=True):
                result.append(self._read(name))
            if progress is not None:
                progress(row + 1)
        return tuple(np.stack(result) for result in results)

    def _write(self, name: str, data: np.ndarray) -> None:
        tensor = self.tensor(name)
        little = np.ascontiguousarray(data, tensor.dtype.newbyteorder("<"))
        self._session.write(tensor.address, little.tobytes())

    def _read(self, name: str) -> np.ndarray:
        tensor = self.tensor(name)
        raw = self._session.read(tensor.address, tensor.size_bytes)
        data = np.frombuffer(raw, tensor.dtype.newbyteorder("<"), prod(tensor.shape))
        return data.astype(tensor.dtype).reshape(tensor.shape)

    def _steps(self, compiled: Compiled, functions: dict[str, Function]) -> tuple[Step, ...]:
        if compiled.executor != "host":
            names = (*compiled.module.inputs, *compiled.module.outputs)
            return (Step("", functions[""], self._tensors(names)),)
        return tuple(
            Step(c.function, functions[c.function], self._tensors((*c.inputs, *c.outputs)))
            for c in self._module.calls
        )

    def _tensors(self, names: Sequence[str]) -> tuple[DeviceTensor, ...]:
        return tuple(map(self.tensor, names))

    def _function(self, name: str) -> Function:
        try:
            return self._session.function(name)
        except StatusError as error:
            if error.status != _NO_FUNCTION:
                raise
            raise InputError(
                "the device does not have this network",
                where=name,
                hint="build its program from the same model, with the same --executor",
            ) from error


def _symbols(compiled: Compiled) -> dict[str, str]:
    """The functions that are called, by the names of steps."""
    module = compiled.module
    if compiled.executor != "host":
        return {"": entry_symbol(module.name)}
    prefix = prefix_of(module)
    return {f.name: packed_symbol(prefix, f.name) for f in module.functions}


def _blocks(compiled: Compiled) -> list[tuple[int, dict[str, int]]]:
    """What to allocate: sizes, and the offsets of the values in them."""
    module = compiled.module
    if compiled.executor != "host":
        names = (*module.inputs, *module.outputs)
        return [(module.tensors[name].size_bytes, {name: 0}) for name in names]
    placed = {name: value.offset for name, value in compiled.plan.values.items()}
    blocks = [(compiled.plan.arena_bytes, placed)]
    blocks += [(module.tensors[name].size_bytes, {name: 0}) for name in _own_memory(module)]
    if compiled.loaded:
        offsets, end = {}, 0
        for name, data in params_of(module).items():
            offsets[name] = end
            end += aligned(data.nbytes)
        blocks.append((end, offsets))
    return [block for block in blocks if block[0]]


def _own_memory(module: Module) -> tuple[str, ...]:
    """Inputs and outputs that are not another's memory: they lie outside of the arena."""
    return tuple(dict.fromkeys(module.root(n) for n in (*module.inputs, *module.outputs)))
