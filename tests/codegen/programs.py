"""Runs loop IR functions as compiled C: what tests of the code generator compare with NumPy.

In: functions and one array per operand of each. Out: one array per result. All functions become one
network, so that one program is built for all of them. ``sanitize`` builds natively with the
system's compiler and stops at the first undefined behaviour.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.crt.programs import run
from utvm.codegen.c_module import generate_c
from utvm.device.crt import crt_include_dir, crt_sources
from utvm.device.host import run_host
from utvm.device.link import build_elf
from utvm.device.toolchain import COMMON_FLAGS, find_toolchain
from utvm.ir.graph import Graph, TensorType, Value
from utvm.ir.loop import Buffer, Function, KernelCall, Module
from utvm.passes.plan_memory import plan_memory
from utvm.support.errors import ToolchainError
from utvm.target.board import load_board
from utvm.target.target import load_target

Array = npt.NDArray[Any]


def network_of(functions: Sequence[Function], name: str = "net") -> tuple[Module, Graph]:
    """A module that calls each function once, all operands and results being the network's own."""
    tensors: dict[str, Buffer] = {}
    calls: list[KernelCall] = []
    for function in functions:
        sides: list[tuple[str, ...]] = []
        for buffers in (function.inputs, function.outputs):
            names = tuple(f"{function.name}_{buffer.name}" for buffer in buffers)
            tensors |= dict(zip(names, buffers, strict=True))
            sides.append(names)
        calls.append(KernelCall(function.name, *sides))
    inputs = tuple(name for call in calls for name in call.inputs)
    outputs = tuple(name for call in calls for name in call.outputs)
    module = Module(name, inputs, outputs, tuple(functions), tuple(calls), tensors)
    values = {n: Value(n, TensorType(b.shape, b.dtype)) for n, b in tensors.items()}
    return module, Graph(name, inputs, outputs, (), values)


def sources_of(functions: Sequence[Function], name: str = "net") -> dict[str, str]:
    module, graph = network_of(functions, name)
    return generate_c(module, plan_memory(module), graph)


def run_functions(
    functions: Sequence[Function],
    arrays: Sequence[Sequence[Array]],
    folder: Path,
    target: str = "host",
    toolchain: str = "zig",
    *,
    sanitize: bool = False,
) -> list[list[Array]]:
    """The results of each function on its operands."""
    for file, text in sources_of(functions).items():
        (folder / file).write_text(text, encoding="ascii")
    stream = b"".join(
        np.ascontiguousarray(array, buffer.dtype.numpy).tobytes()
        for function, operands in zip(functions, arrays, strict=True)
        for buffer, array in zip(function.inputs, operands, strict=True)
    )
    if sanitize:
        raw = run_host(build_sanitized(folder), stream)
    else:
        raw = run(
            build(folder, target, toolchain), load_target(target).default_board, stream, folder
        )
    results, offset = [], 0
    for function in functions:
        outputs = []
        for buffer in function.outputs:
            data = np.frombuffer(raw, buffer.dtype.numpy, buffer.elements, offset)
            outputs.append(data.reshape(buffer.shape))
            offset += buffer.size_bytes
        results.append(outputs)
    assert offset == len(raw), "one record came back"
    return results


def build(folder: Path, target_name: str, toolchain_name: str) -> Path:
    """The program of the C files in ``folder``; skips the test where the toolchain is missing."""
    target = load_target(target_name)
    board = load_board(target.default_board)
    try:
        toolchain = find_toolchain(toolchain_name, target)
    except ToolchainError as error:
        pytest.skip(str(error))
    sources = [*sorted(folder.glob("*.c")), *crt_sources(target, board)]
    return build_elf(
        toolchain, target, board, sources, [folder, crt_include_dir()], folder / "program.elf"
    )


def build_sanitized(folder: Path) -> Path:
    """The native program with checks for undefined behaviour; skips where it cannot be built."""
    compiler = next((cc for cc in ("gcc", "clang") if shutil.which(cc)), None)
    if compiler is None:
        pytest.skip("needs gcc or clang for -fsanitize=undefined")
    target = load_target("host")
    out = folder / "program"
    sources = [*sorted(folder.glob("*.c")), *crt_sources(target, load_board("host"))]
    flags = ["-fsanitize=undefined", "-fno-sanitize-recover=all", "-O1", *COMMON_FLAGS]
    folders = [f"-I{folder}", f"-I{crt_include_dir()}"]
    command = [compiler, *flags, *folders, *map(str, sources), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "ubsan" in done.stderr:
        pytest.skip("the system's compiler has no library for -fsanitize=undefined")
    assert done.returncode == 0, done.stderr
    return out
