"""The runtime's memcpy, memmove, memset and memcmp at every alignment and at sizes 0 to 71."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crt.programs import HERE, build, run

CHECKS = 72 * 5 * (1 + 5 * 5)


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize(
    ("board", "qemu"),
    [
        ("host", False),
        ("emu_cortex_m0plus", False),
        ("emu_cortex_m4", False),
        ("emu_cortex_m3", True),
    ],
)
def test_memory_functions(board: str, qemu: bool, toolchain: str, tmp_path: Path) -> None:
    program = build(HERE / "mem_driver.c", board, toolchain, tmp_path)
    checks = run(program, board, b"", tmp_path, qemu=qemu)
    assert int.from_bytes(checks, "little") == CHECKS
