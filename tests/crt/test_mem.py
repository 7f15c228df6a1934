"""The runtime's memcpy, memmove, memset and memcmp at every alignment and at sizes 0 to 71."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crt.programs import HERE, build, run

CHECKS = 72 * 5 * (1 + 5 * 5)


@pytest.mark.parametrize(
    ("board", "toolchain"),
    [
        ("host", "zig"),
        ("emu_cortex_m3", "gcc"),
        ("emu_cortex_m4", "zig"),
        ("emu_cortex_m4", "gcc"),
    ],
)
def test_memory_functions(board: str, toolchain: str, tmp_path: Path) -> None:
    program = build(HERE / "mem_driver.c", board, toolchain, tmp_path)
    checks = run(program, board, b"", tmp_path)
    assert int.from_bytes(checks, "little") == CHECKS
