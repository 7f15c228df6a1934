"""Start-up code on a board: memory initialization, exit status, and the report of a fault."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.crt.programs import HERE, build, run_qemu
from utvm.target.board import load_board

BOARDS = (
    "emu_cortex_m3",
    "emu_cortex_m4",
    "emu_cortex_m7",
    "mps2_an521",
    "mps3_an547",
    "qemu_riscv32",
)
EXIT_FAULT = 70


def ends(
    action: bytes, board: str, toolchain: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """How the program ends that does ``action``."""
    program = build(HERE / "fault_driver.c", board, toolchain, folder)
    return run_qemu(program, load_board(board), action, folder)


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("board", BOARDS)
def test_data_is_initialized_before_main(board: str, toolchain: str, tmp_path: Path) -> None:
    done = ends(b"", board, toolchain, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_exit_status_is_passed_on(tmp_path: Path) -> None:
    assert ends(b"3", "emu_cortex_m4", "zig", tmp_path).returncode == 3


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize(
    ("action", "text"),
    [
        (b"u", "utvm: fault at pc 0x"),
        (b"i", "utvm: fault at pc 0x"),
        (b"s", "utvm: fault: stack overflow"),
    ],
)
def test_faults_are_reported(action: bytes, text: str, board: str, tmp_path: Path) -> None:
    done = ends(action, board, "zig", tmp_path)
    assert done.returncode == EXIT_FAULT
    assert done.stderr.startswith(text)
