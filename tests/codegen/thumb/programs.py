"""Builds assembled micro functions into one program and runs it on the emulator.

In: micro functions with an array per buffer and an integer per scalar; outputs begin with what the
case gives. Out: by case the outputs and the cycles of the call, to be compared with the loop
interpreter. Arrays stand between guard words, which must survive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import PATIENCE_SECONDS
from tests.crt.programs import needs_qemu
from tests.loop_interpreter import run_function
from utvm.codegen.thumb import assemble
from utvm.device.crt import crt_include_dir, crt_sources
from utvm.device.elf import read_elf
from utvm.device.emulator import MemoryRegion, run_elf
from utvm.device.link import build_elf
from utvm.device.qemu import run_qemu
from utvm.device.toolchain import find_toolchain
from utvm.ir.loop import Buffer, Function
from utvm.support.errors import ToolchainError
from utvm.target.board import Board, load_board
from utvm.target.target import Target, load_target

Array = npt.NDArray[Any]
GUARD = 0x5A


@dataclass(frozen=True, eq=False)
class Case:
    """One call of a micro function."""

    function: Function
    arrays: Mapping[str, Array]
    scalars: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Result:
    """Outputs by name, and what the call cost."""

    outputs: Mapping[str, Array]
    cycles: int
    instructions: int


def buffers_of(function: Function) -> tuple[Buffer, ...]:
    return (*function.inputs, *function.outputs, *function.constants)


def run_cases(
    cases: Sequence[Case], folder: Path, target: str = "cortex-m4", toolchain: str = "zig"
) -> list[Result]:
    """The results of each call, all in one program."""
    board = load_board(load_target(target).default_board)
    found = load_target(target)
    elf, stream = _built(cases, folder, board, found, toolchain)
    image = read_elf(elf)
    low, top = (image.symbols[f"__utvm_stack_{end}"].address for end in ("low", "top"))
    regions = [
        MemoryRegion(m.name, m.origin, m.size_bytes, m.kind == "ram", True) for m in board.memories
    ]
    run = run_elf(
        image,
        cpu=found.cpu,
        cycle_model=found.cycle_model,
        memories=regions,
        stack=(low, top),
        files={"utvm_in.bin": stream},
        measure="main",
        operators=[f"micro_{n}" for n in range(len(cases))],
    )
    assert run.exit_status == 0, run.console
    costs = {f.symbol: f for f in run.invocations[0].functions}
    return _results(cases, run.files["utvm_out.bin"], costs)


def run_cases_on_qemu(cases: Sequence[Case], folder: Path, board_name: str) -> None:
    """Compares outputs with the interpreter's, on a machine of QEMU's."""
    board = load_board(board_name)
    needs_qemu(board)
    target = load_target(board.target)
    elf, stream = _built(cases, folder, board, target, "zig")
    found = run_qemu(read_elf(elf), board, target, stream, timeout_seconds=PATIENCE_SECONDS)
    nothing = {f"micro_{n}": SimpleNamespace(cycles=0, instructions=0) for n in range(len(cases))}
    _compare(cases, _results(cases, found.output, nothing))


def _built(
    cases: Sequence[Case], folder: Path, board: Board, target: Target, toolchain: str
) -> tuple[Path, bytes]:
    """The program, and what it is to read."""
    (folder / "program.c").write_text(_program(cases, target.name), encoding="ascii")
    stream = b"".join(_memory(case, b) for case in cases for b in buffers_of(case.function))
    try:
        compiler = find_toolchain(toolchain, target)
    except ToolchainError as error:
        pytest.skip(str(error))
    sources = [folder / "program.c", *crt_sources(target, board)]
    elf = build_elf(compiler, target, board, sources, [crt_include_dir()], folder / "program.elf")
    return elf, stream


def _memory(case: Case, buffer: Buffer) -> bytes:
    data = np.ascontiguousarray(case.arrays[buffer.name], buffer.dtype.numpy)
    assert data.size == buffer.elements
    return data.tobytes()


def _results(cases: Sequence[Case], raw: bytes, costs: Mapping[str, Any]) -> list[Result]:
    results: list[Result] = []
    at = 0
    for number, case in enumerate(cases):
        outputs: dict[str, Array] = {}
        for buffer in case.function.outputs:
            assert raw[at : at + 8] == bytes([GUARD] * 8), f"{buffer.name}: written in front of it"
            at += 8
            outputs[buffer.name] = np.frombuffer(raw, buffer.dtype.numpy, buffer.elements, at)
            at += buffer.size_bytes
            assert raw[at : at + 8] == bytes([GUARD] * 8), f"{buffer.name}: written behind it"
            at += 8
        cost = costs[f"micro_{number}"]
        results.append(Result(outputs, cost.cycles, cost.instructions))
    assert at == len(raw)
    return results


def _program(cases: Sequence[Case], target: str) -> str:
    """Every buffer is a struct of guards and bytes; the case's micro function is called, then its
    outputs are written with their guards."""
    sizes = [b.size_bytes for case in cases for b in buffers_of(case.function)]
    headers = ('"utvm/assembly.h"', '"utvm/platform.h"')
    lines = ["#include <stdint.h>", *(f"#include {header}" for header in headers), ""]
    known: dict[Function, str] = {}
    for number, case in enumerate(cases):
        if case.function not in known:
            known[case.function] = assemble(case.function, "@", load_target(target))
        lines.append(known[case.function].replace("@", f"micro_{number}"))
        for buffer in buffers_of(case.function):
            size = f"[{buffer.size_bytes + 16}]"
            name = f"buffer_{number}_{buffer.name}"
            lines.append(f"static uint8_t {name}{size} __attribute__((aligned(8)));")
    assert all(size > 0 for size in sizes)
    lines.append("int main(void) {\n  utvm_platform_init();")
    for number, case in enumerate(cases):
        lines += _call(number, case)
    lines.append("  return 0;\n}")
    return "\n".join(lines) + "\n"


def _call(number: int, case: Case) -> list[str]:
    lines: list[str] = []
    arguments: list[str] = []
    for buffer in buffers_of(case.function):
        name, size = f"buffer_{number}_{buffer.name}", buffer.size_bytes
        lines.append(f"  for (int i = 0; i < {size + 16}; i++) {name}[i] = {GUARD};")
        lines.append(f"  if (utvm_platform_read({name} + 8, {size}) != 1) return 1;")
        arguments.append(f"(void *)({name} + 8)")
    arguments += [f"{case.scalars[var.name]}" for var in case.function.scalars]
    lines.append(f"  micro_{number}({', '.join(arguments)});")
    for buffer in case.function.outputs:
        name = f"buffer_{number}_{buffer.name}"
        lines.append(f"  if (utvm_platform_write({name}, {buffer.size_bytes + 16})) return 2;")
    return lines


def check_cases(
    cases: Sequence[Case], folder: Path, target: str = "cortex-m4", toolchain: str = "zig"
) -> list[Result]:
    """Runs the cases and compares them with the interpreter."""
    results = run_cases(cases, folder, target, toolchain)
    _compare(cases, results)
    return results


def _compare(cases: Sequence[Case], results: Sequence[Result]) -> None:
    for number, (case, result) in enumerate(zip(cases, results, strict=True)):
        expected = run_function(case.function, case.arrays, scalars=case.scalars)
        for name, array in expected.items():
            found = result.outputs[name]
            assert np.array_equal(found, array.reshape(-1)), (number, name, found, array)


def random_case(
    function: Function, seed: int = 0, scalars: Mapping[str, int] | None = None
) -> Case:
    """Random operands over their types' whole range, extremes among them; outputs begin random."""
    random = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for buffer in buffers_of(function):
        low, high = buffer.dtype.minimum, buffer.dtype.maximum
        data = random.integers(low, high, buffer.elements, endpoint=True, dtype=np.int64)
        picks = random.random(buffer.elements)
        data[picks < 0.1], data[picks > 0.9] = low, high
        arrays[buffer.name] = data.astype(buffer.dtype.numpy)
    return Case(function, arrays, dict(scalars or {}))
