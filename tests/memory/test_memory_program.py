"""Programs for RAM: where things lie, layouts of structures, and memory that is given out."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.device.assembly import assemble
from tests.memory.programs import OPERATORS, build
from utvm.device import memory_task as task
from utvm.device.crt import crt_include_dir
from utvm.device.memory_allocator import FirstFit
from utvm.device.memory_program import (
    build_memory_program,
    free_memory,
    has_memory_program,
    read_memory_program,
    section_map,
)
from utvm.device.session import StatusError
from utvm.device.toolchain import find_toolchain
from utvm.support.errors import DeviceError, MemoryLimitError, UnsupportedError
from utvm.target.board import list_boards, load_board
from utvm.target.target import load_target

LAYOUT = """
#include <stddef.h>
#include "utvm/task.h"
#define IS(name, a, b) typedef char name[(a) == (b) ? 1 : -1]
IS(control, sizeof(UtvmTaskControl), {control});
IS(fault, offsetof(UtvmTaskControl, running), {fault});
IS(log, sizeof utvm_task_log, {log});
IS(task, sizeof(UtvmTask), {task});
IS(status, offsetof(UtvmTask, status), 20);
IS(cycles, offsetof(UtvmTask, cycles), 40);
IS(tensor, sizeof(DLTensor), {tensor});
IS(dtype, offsetof(DLTensor, dtype), 16);
IS(shape, offsetof(DLTensor, shape), 20);
IS(byte_offset, offsetof(DLTensor, byte_offset), 32);
IS(value, sizeof(TVMValue), 8);
IS(type_code, sizeof(int), 4);
"""


@pytest.mark.parametrize("target_name", ["cortex-m4", "riscv32imc"])
def test_the_structures_are_those_of_the_c_compiler(target_name: str, tmp_path: Path) -> None:
    numbers = {
        "control": task.CONTROL_BYTES,
        "fault": task.FAULT_OFFSET,
        "log": task.LOG_BYTES,
        "task": task.TASK_BYTES,
        "tensor": task.TENSOR_BYTES,
    }
    source = tmp_path / "layout.c"
    source.write_text(LAYOUT.format(**numbers))
    target = load_target(target_name)
    toolchain = find_toolchain(None, target)
    command = toolchain.compile_command(
        target, source, str(tmp_path / "layout.o"), [crt_include_dir()], "-O2"
    )
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=toolchain.environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_map_says_where_everything_lies(tmp_path: Path) -> None:
    board = load_board("mps2_an386")
    image = build(board.name, tmp_path, [OPERATORS], keep=["test_functions"])
    table = section_map([image], board)
    names = [section.name for section in table.sections]
    assert names == [".stack", ".vectors", ".text", ".rodata", ".data", ".tasks", ".bss"]
    assert {section.memory for section in table.sections} == {"ram"}
    sizes = {section.name: section.size_bytes for section in table.sections}
    assert sizes[".stack"] == board.stack_bytes
    assert sizes[".text"] < 4096, "the device's half of all this is small"
    functions = {function.name: function for function in table.functions}
    assert {"utvm_task_main", "increment", "TVMBackendAllocWorkspace"} <= functions.keys()
    assert {function.section for function in table.functions} == {".text"}
    assert [row.memory for row in table.free] == ["ram", "psram"]
    main = board.memory("ram")
    used = table.free[0].address - main.origin
    assert table.free[0].size_bytes == main.size_bytes - used
    assert sum(sizes.values()) <= used < sum(sizes.values()) + 256, "but for alignment"


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("board", ["microbit", "mps2_an521", "nucleo_f746zg", "qemu_riscv32"])
def test_programs_link_for_boards(board: str, toolchain: str, tmp_path: Path) -> None:
    if board == "qemu_riscv32" and toolchain == "gcc":
        pytest.skip("needs a cross compiler for RISC-V")
    image = build(board, tmp_path, [OPERATORS], keep=["test_functions"], toolchain=toolchain)
    stop = image.symbols["utvm_task_stop"]
    assert stop.kind == "func"
    low, high = free_memory(image, load_board(board))[0]
    assert 0 < high - low < load_board(board).memory("ram").size_bytes


def test_all_boards_but_native_ones_have_such_programs() -> None:
    without = [name for name in list_boards() if not has_memory_program(load_board(name))]
    assert without == ["host"]
    target = load_target("host")
    with pytest.raises(UnsupportedError, match="cannot be put into the RAM of this board"):
        build_memory_program(
            find_toolchain(None, target), target, load_board("host"), [], [], Path("never")
        )


def test_a_program_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MemoryLimitError):
        build("microbit", tmp_path, module_bytes=16384)
    board = load_board("emu_cortex_m4")
    image = build(board.name, tmp_path)
    assert read_memory_program(image.path, board).entry == image.entry
    with pytest.raises(DeviceError, match="not one for sessions over memory access"):
        read_memory_program(_other_program(tmp_path), board)


def _other_program(folder: Path) -> Path:
    return assemble(folder, " bx lr").path


SIZES = st.lists(st.integers(0, 200), min_size=1, max_size=40)


@given(SIZES, st.randoms(use_true_random=False))
def test_blocks_never_overlap_and_come_back(sizes: list[int], random: Random) -> None:
    memory = FirstFit([(3, 1000), (5000, 5500), (9, 9)])
    assert memory.total_bytes == 992 + 496
    taken: dict[int, int] = {}
    for size in sizes:
        if taken and random.random() < 0.4:
            address = random.choice(sorted(taken))
            memory.free(address)
            del taken[address]
        try:
            address = memory.allocate(size)
        except StatusError as error:
            assert error.status == -2
            assert memory.largest_hole()[1] < max(size, 1)
            continue
        assert address % 8 == 0
        assert 8 <= address <= 1000 - size or 5000 <= address <= 5500 - size
        assert all(address + size <= a or a + s <= address for a, s in taken.items())
        taken[address] = max(size, 1)
        assert memory.holds(address, size)
        assert memory.peak_bytes >= memory.used_bytes >= sum(taken.values())
    for address in taken:
        memory.free(address)
    assert memory.used_bytes == 0
    assert list(memory.holes()) == [(8, 992), (5000, 496)]
    with pytest.raises(StatusError):
        memory.free(8)
