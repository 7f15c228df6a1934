"""Builds small C programs with the runtime and runs them: natively, on the emulator, or on QEMU.

In goes a C file of this folder, a board and the input stream; out comes the output stream. QEMU is
optional: a test that wants it skips with a reason where it is missing.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from utvm.device import qemu as device_qemu
from utvm.device.crt import crt_include_dir, crt_sources
from utvm.device.elf import read_elf
from utvm.device.emulator import EmulatorResult, MemoryRegion, run_elf
from utvm.device.host import run_host
from utvm.device.link import build_elf
from utvm.device.toolchain import find_toolchain
from utvm.support.errors import ToolchainError
from utvm.target.board import Board, load_board
from utvm.target.target import load_target

HERE = Path(__file__).parent


def build(source: Path, board_name: str, toolchain_name: str, folder: Path) -> Path:
    """The program of ``source`` for the board; skips the test when the toolchain is missing."""
    board = load_board(board_name)
    target = load_target(board.target)
    try:
        toolchain = find_toolchain(toolchain_name, target)
    except ToolchainError as error:
        pytest.skip(str(error))
    out = folder / f"{source.stem}_{board_name}_{toolchain_name}.elf"
    sources = [source, *crt_sources(target, board)]
    return build_elf(toolchain, target, board, sources, [crt_include_dir()], out)


def run(
    program: Path, board_name: str, stream: bytes, folder: Path, *, qemu: bool = False
) -> bytes:
    """What ``program`` writes when it reads ``stream``; it must end with status 0."""
    board = load_board(board_name)
    if board.run == "host":
        return run_host(program, stream)
    if board.run == "qemu":
        target = load_target(board.target)
        needs_qemu(board)
        return device_qemu.run_qemu(read_elf(program), board, target, stream).output
    if qemu:
        done = run_qemu(program, board, stream, folder)
        assert done.returncode == 0, done.stderr
        return (folder / "utvm_out.bin").read_bytes()
    result = run_emulator(program, board, stream)
    assert result.exit_status == 0, result.console
    return result.files["utvm_out.bin"]


def run_emulator(program: Path, board: Board, stream: bytes) -> EmulatorResult:
    """Run ``program`` on the emulator with the board's memories."""
    target = load_target(board.target)
    image = read_elf(program)
    regions = [
        MemoryRegion(
            name=memory.name,
            origin=memory.origin,
            size=memory.size_bytes,
            writable=memory.kind == "ram",
            executable=True,
        )
        for memory in board.memories
    ]
    low, top = (image.symbols[f"__utvm_stack_{end}"].address for end in ("low", "top"))
    return run_elf(
        image,
        cpu=target.cpu,
        cycle_model=target.cycle_model,
        memories=regions,
        stack=(low, top),
        files={"utvm_in.bin": stream},
        measure="main",
        operators=(),
    )


def run_qemu(
    program: Path, board: Board, stream: bytes, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run ``program`` on the board's QEMU machine with semihosting files in ``folder``."""
    assert board.qemu_machine
    qemu = needs_qemu(board)
    (folder / "utvm_in.bin").write_bytes(stream)
    command = [qemu, "-M", board.qemu_machine, *board.qemu_arguments]
    command += ["-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(program)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )


def needs_qemu(board: Board) -> str:
    """The board's QEMU program; skips the test where it is not installed."""
    try:
        return device_qemu.find_qemu(load_target(board.target))
    except ToolchainError as error:
        pytest.skip(str(error))
