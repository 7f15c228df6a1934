"""Runs a built program on its device and collects what it answers and what it costs.

In: a ``Build`` and rows of inputs. Out: a ``Run`` with the outputs, row by row, and the cost per
invocation: the median over the rows (the lower one of two), for the network and for every operator.
What a device does not count is None: instructions all but the emulator, cycles QEMU and this
computer. Over a session they are the whole network's, and each kernel's with the graph on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

import numpy as np

from utvm.codegen.c_module import kernel_symbol
from utvm.device.elf import ElfImage
from utvm.device.emulator import EmulatorResult, FunctionCost, MemoryRegion, run_elf
from utvm.device.host import run_host
from utvm.device.qemu import run_qemu
from utvm.driver.build import Build
from utvm.driver.run_session import run_in_session
from utvm.driver.tensors import Rows
from utvm.driver.transports import STANDALONE, default_transport, flash_line
from utvm.ir.graph import Graph, Value
from utvm.ir.loop import Function
from utvm.support.errors import DeviceError, InputError, InternalError, UnsupportedError
from utvm.support.text import printable

Progress = Callable[[str], None]
"""Told now and then how far the run is."""

Costs = Mapping[str, tuple[int | None, int]]
"""Of one invocation: by kernel, instructions and cycles."""

# What the emulated device's files may hold; all rows travel in one file each way.
MAX_STREAM_BYTES = 256 << 20


@dataclass(frozen=True)
class OperatorCost:
    """One kernel of the network. ``source`` names the model's operators that it computes."""

    name: str
    op: str
    source: str
    macs: int
    instructions: int | None
    cycles: int | None


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run; costs are per invocation."""

    outputs: Rows
    operators: tuple[OperatorCost, ...]
    instructions: int | None
    cycles: int | None
    stack_bytes: int | None

    @property
    def rows(self) -> int:
        return len(self.outputs[0])


def run_build(build: Build, inputs: Rows, progress: Progress = lambda text: None) -> Run:
    """Runs ``build`` once per row of ``inputs``."""
    if build.options.transport.program == STANDALONE:
        return _run_alone(build, inputs, progress)
    run = run_in_session(build, inputs, progress)
    network = [row[""] for row in run.cycles if "" in row]
    totals = network or [sum(row.values()) for row in run.cycles]
    return Run(
        run.outputs,
        _operators(build, [{name: (None, n) for name, n in row.items()} for row in run.cycles]),
        None,
        median_low(totals) if totals else None,
        run.stack_bytes,
    )


def _run_alone(build: Build, inputs: Rows, progress: Progress) -> Run:
    """A program that reads all rows by itself."""
    target, board = build.options.target, build.options.board
    if board.run == "probe":
        raise UnsupportedError(
            "a program that runs alone cannot be started on this board from here",
            where=board.name,
            expected=f"transport {default_transport(board, build.options.executor)}",
            hint="or flash it: " + flash_line(board, "model.elf"),
        )
    assert build.program is not None
    rows = len(inputs[0])
    stream = _to_stream(inputs, rows)
    _check_stream(rows * sum(v.type.size_bytes for v in build.outputs), "outputs")
    if build.image is None:
        return _uncounted(build, run_host(build.program, stream), rows)
    if board.run == "qemu":
        return _uncounted(build, run_qemu(build.image, board, target, stream).output, rows)
    result = _emulate(build, build.image, stream, progress)
    raw = result.files.get("utvm_out.bin", b"")
    if len(result.invocations) != rows:
        raise InternalError(f"the program ran {len(result.invocations)} times, expected {rows}")
    return Run(
        _from_stream(raw, build.outputs, rows),
        _operators(build, [_emulated_costs(build, i.functions) for i in result.invocations]),
        median_low(invocation.instructions for invocation in result.invocations),
        median_low(invocation.cycles for invocation in result.invocations),
        result.stack_bytes,
    )


def _uncounted(build: Build, raw: bytes, rows: int) -> Run:
    """A run on a device that tells outputs and no costs."""
    return Run(_from_stream(raw, build.outputs, rows), _operators(build, ()), None, None, None)


def _emulate(build: Build, image: ElfImage, stream: bytes, progress: Progress) -> EmulatorResult:
    target, board = build.options.target, build.options.board
    low, top = (image.symbols[f"__utvm_stack_{end}"].address for end in ("low", "top"))
    result = run_elf(
        image,
        cpu=target.cpu,
        cycle_model=target.cycle_model,
        memories=[
            MemoryRegion(m.name, m.origin, m.size_bytes, m.kind == "ram", True)
            for m in board.memories
        ],
        stack=(low, top),
        files={"utvm_in.bin": stream},
        measure=build.compiled.run_symbol,
        operators=list(build.compiled.operator_symbols),
        progress=lambda n: progress(f"running: {n / 1e6:.0f} M instructions"),
    )
    if result.exit_status != 0:
        lines = result.console.strip().splitlines() or [""]
        raise DeviceError(
            f"the program exited with status {result.exit_status}",
            where=board.name,
            found=printable(lines[-1], 200),
        )
    return result


def _to_stream(inputs: Rows, rows: int) -> bytes:
    _check_stream(sum(array.nbytes for array in inputs), "inputs")
    little = [array.astype(array.dtype.newbyteorder("<"), copy=False) for array in inputs]
    return b"".join(np.ascontiguousarray(a[row]).tobytes() for row in range(rows) for a in little)


def _check_stream(size_bytes: int, what: str) -> None:
    if size_bytes > MAX_STREAM_BYTES:
        raise InputError(
            f"the {what} of all rows together are too large",
            expected=f"at most {MAX_STREAM_BYTES} bytes",
            found=f"{size_bytes} bytes",
            hint="run fewer rows at a time",
        )


def _from_stream(raw: bytes, values: Sequence[Value], rows: int) -> Rows:
    """Takes the records apart: every record is the outputs in order."""
    record = np.dtype(
        [(f"out{k}", v.dtype.numpy.newbyteorder("<"), v.shape) for k, v in enumerate(values)]
    )
    if len(raw) != rows * record.itemsize:
        raise InternalError(f"the program wrote {len(raw)} bytes for {rows} rows of {record}")
    table = np.frombuffer(raw, record)
    return tuple(
        np.ascontiguousarray(table[f"out{k}"], v.dtype.numpy) for k, v in enumerate(values)
    )


def _emulated_costs(build: Build, costs: Iterable[FunctionCost]) -> Costs:
    names = {kernel_symbol(build.compiled.module, f.name): f.name for f in _functions(build)}
    return {names[cost.symbol]: (cost.instructions, cost.cycles) for cost in costs}


def _functions(build: Build) -> tuple[Function, ...]:
    return build.compiled.module.functions


def _operators(build: Build, invocations: Sequence[Costs]) -> tuple[OperatorCost, ...]:
    """One entry per kernel, in execution order."""
    sources = kernel_sources(build.compiled.graph)

    def entry(function: Function) -> OperatorCost:
        costs = [row[function.name] for row in invocations if function.name in row]
        instructions = [n for n, _ in costs if n is not None]
        return OperatorCost(
            name=function.name,
            op=function.op,
            source=sources.get(function.name, ""),
            macs=function.macs,
            instructions=median_low(instructions) if instructions else None,
            cycles=median_low(cycles for _, cycles in costs) if costs else None,
        )

    return tuple(map(entry, _functions(build)))


def kernel_sources(fused: Graph) -> dict[str, str]:
    """For every kernel, the operators of the model that it computes: ``CONV_2D #3, ADD #4``."""
    sources: dict[str, dict[str, None]] = {}
    for node in fused.nodes:
        if node.source:
            sources.setdefault(node.group or node.name, {})[node.source] = None
    return {name: ", ".join(parts) for name, parts in sources.items()}
