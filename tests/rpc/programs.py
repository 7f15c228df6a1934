"""Builds the tests' RPC servers: native ones, also with sanitizers, and those for QEMU.

In: a folder. Out: programs. What cannot be built on this machine skips the test with a reason.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from utvm.device.crt import crt_include_dir
from utvm.device.link import build_elf
from utvm.device.rpc_program import rpc_sources
from utvm.device.toolchain import COMMON_FLAGS, find_toolchain
from utvm.target.board import load_board
from utvm.target.target import load_target

HERE = Path(__file__).parent


def build_server(board_name: str, folder: Path, toolchain: str = "zig") -> Path:
    """The server of server.c, for a board."""
    board = load_board(board_name)
    target = load_target(board.target)
    sources = [HERE / "server.c", *rpc_sources(board)]
    return build_elf(
        find_toolchain(toolchain, target),
        target,
        board,
        sources,
        [HERE, crt_include_dir()],
        folder / f"server_{board_name}.elf",
    )


def build_sanitized(source: Path, folder: Path, extra: Sequence[Path] = ()) -> Path:
    """A native program with checks for addresses and undefined behaviour."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("needs gcc for -fsanitize=address,undefined")
    out = folder / f"{source.stem}_sanitized"
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", *COMMON_FLAGS]
    sources = [source, *extra]
    command = [gcc, *flags, f"-I{HERE}", f"-I{crt_include_dir()}", *map(str, sources)]
    done = subprocess.run([*command, "-o", str(out)], capture_output=True, text=True, check=False)
    if done.returncode != 0 and ("asan" in done.stderr or "ubsan" in done.stderr):
        pytest.skip("the system's compiler has no sanitizer libraries")
    assert done.returncode == 0, done.stderr
    return out
