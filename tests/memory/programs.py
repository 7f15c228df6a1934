"""Builds programs for a device's RAM and opens sessions with them on the emulator.

In: a board's name, C sources. Out: linked programs, sessions. Compiled networks come with the
module that has their kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from utvm.codegen.c_entry import SessionFunctions
from utvm.device.crt import crt_include_dir
from utvm.device.elf import ElfImage
from utvm.device.memory_emulator import EmulatorAccess
from utvm.device.memory_program import (
    build_memory_module,
    build_memory_program,
    read_memory_program,
)
from utvm.device.memory_session import MemorySession, open_memory_session
from utvm.device.toolchain import find_toolchain
from utvm.target.board import load_board
from utvm.target.target import load_target

HERE = Path(__file__).parent
OPERATORS = HERE / "operators.c"


def build(
    board_name: str,
    folder: Path,
    sources: Sequence[Path] = (),
    *,
    keep: Sequence[str] = (),
    module_bytes: int = 0,
    toolchain: str | None = None,
) -> ElfImage:
    """A program with ``sources`` for the RAM of a board."""
    board = load_board(board_name)
    target = load_target(board.target)
    out = build_memory_program(
        find_toolchain(toolchain, target),
        target,
        board,
        sources,
        [folder],
        folder / f"{board_name}.elf",
        keep=keep,
        module_bytes=module_bytes,
    )
    return read_memory_program(out, board)


def build_module(
    board_name: str,
    folder: Path,
    resident: ElfImage,
    sources: Sequence[Path],
    keep: Sequence[str],
    toolchain: str | None = None,
) -> Path:
    """A module for ``resident``, in a folder of its own."""
    board = load_board(board_name)
    target = load_target(board.target)
    return build_memory_module(
        find_toolchain(toolchain, target),
        target,
        board,
        resident,
        sources,
        [folder, crt_include_dir()],
        folder / f"module_{len(keep)}.elf",
        keep=keep,
    )


def write_functions(functions: SessionFunctions, folder: Path) -> list[Path]:
    """The C files of a network's functions, written."""
    for name, text in functions.sources.items():
        (folder / name).write_text(text, encoding="ascii")
    return [folder / name for name in functions.sources if name.endswith(".c")]


def open_emulator(
    board_name: str, image: ElfImage, timeout_seconds: float = 60.0
) -> tuple[MemorySession, EmulatorAccess]:
    """A session with ``image`` in an emulated core, and the core."""
    board = load_board(board_name)
    access = EmulatorAccess(load_target(board.target), board)
    return open_memory_session(access, image, board, timeout_seconds=timeout_seconds), access
