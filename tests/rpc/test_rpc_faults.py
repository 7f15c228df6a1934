"""Every way to die on emulated boards: an error with operator, place and cause, a new session.

What a core can tell differs: Armv6-M knows hard faults only, RISC-V traps are named by mcause.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import PATIENCE_SECONDS
from tests.crt.programs import needs_qemu
from tests.rpc.programs import build_server
from utvm.device.elf import ElfImage, read_elf
from utvm.device.rpc_client import RpcSession
from utvm.device.rpc_fault import FAULT_BYTES, read_fault
from utvm.device.rpc_program import connect
from utvm.device.session import (
    DeviceRestartedError,
    DeviceTensor,
    Fault,
    ProtocolError,
    StatusError,
)
from utvm.target.board import load_board

MAINLINE = {
    "crash": "bus fault at {}, precise data bus error (PRECISERR), address 0xe1000000",
    "jump": "memory management fault at pc 0x40000000, instruction access violation (IACCVIOL)",
    "undefined": "usage fault at {}, undefined instruction (UNDEFINSTR)",
    "breakpoint": "hard fault at {}",
    "overflow": "stack overflow, stack pointer 0x",
}
BASELINE = {
    "crash": "hard fault at {}",
    "jump": "hard fault at pc 0x4000",
    "undefined": "hard fault at {}",
    "breakpoint": "hard fault at {}",
    "overflow": "stack overflow, stack pointer 0x",
}
RISCV = {
    "crash": "store access fault at {}, address 0xe1000000",
    "jump": "illegal instruction at pc 0x40000000",
    "undefined": "illegal instruction at {}",
    "breakpoint": "breakpoint at {}",
    "overflow": "stack overflow at pc 0x",
}
# Nothing is mapped there, and the emulator does not know that nothing there may be executed.
EMULATED = MAINLINE | {
    "jump": "bus fault at pc 0x40000000, instruction bus error (IBUSERR)",
    "breakpoint": "hard fault at {}, breakpoint without a debugger (DEBUGEVT)",
}
BOARDS = {
    "emu_cortex_m3": EMULATED,
    "emu_cortex_m4": EMULATED,
    "emu_cortex_m7": EMULATED,
    "emu_cortex_m33": EMULATED,
    "mps2_an385": MAINLINE,
    "mps2_an386": MAINLINE,
    "mps2_an500": MAINLINE,
    "mps2_an521": MAINLINE,
    "mps3_an547": MAINLINE,
    "microbit": BASELINE,
    "qemu_riscv32": RISCV,
}


@dataclass(frozen=True)
class Device:
    board: str
    image: ElfImage
    session: RpcSession


@pytest.fixture(scope="module", params=BOARDS)
def device(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Device]:
    board = load_board(request.param)
    if board.run == "qemu":
        needs_qemu(board)
    program = build_server(board.name, tmp_path_factory.mktemp("server"))
    image = read_elf(program)
    stream = connect(program, board)
    with RpcSession(stream, timeout_seconds=PATIENCE_SECONDS, image=image) as session:
        yield Device(board.name, image, session)


def works(session: RpcSession) -> None:
    """A call after a fault."""
    cell = DeviceTensor(session.allocate(4), (4,), np.dtype(np.uint8))
    session.write(cell.address, bytes(4))
    session.call(session.function("increment"), [cell])
    assert session.read(cell.address, 4) == bytes((1, 1, 1, 1))


def died(session: RpcSession, operator: str) -> Fault:
    """The fault of an operator that does not live through its call."""
    function = session.function(operator)
    session.call(function, [])
    with pytest.raises(DeviceRestartedError) as info:
        session.flush()
    fault = info.value.fault
    assert fault is not None
    assert (fault.function, fault.name) == (function.index, operator)
    assert str(info.value).startswith(
        f"call of {operator}: the device has restarted; found {fault.text}"
    )
    works(session)
    assert session.fault() == fault
    return fault


@pytest.mark.parametrize("operator", MAINLINE)
def test_a_fault_is_named_after_the_restart(device: Device, operator: str) -> None:
    expected = BOARDS[device.board][operator]
    fault = died(device.session, operator)
    if "{}" in expected:
        assert fault.pc is not None
        place = device.image.function_at(fault.pc)
        assert place.split("+")[0] == operator
        expected = expected.format(f"pc {fault.pc:#010x} ({place})")
        assert fault.text == expected
    assert fault.text.startswith(expected)
    assert expected.startswith(fault.kind)
    assert fault.address == (0xE1000000 if "address" in expected else None)


def test_the_watchdog_ends_an_operator_that_hangs(device: Device) -> None:
    session = device.session
    session.set_watchdog(50)
    if not session.welcome.has_watchdog:
        assert device.board.startswith("emu_")
        with pytest.raises(StatusError, match=r"watchdog\(50 ms\): .*found TVM_ERROR_RPC_TIMER"):
            session.flush()
        return
    fault = died(session, "hang")
    assert fault.kind == "watchdog"
    assert fault.pc is not None
    assert device.image.function_at(fault.pc).startswith("hang")
    assert "took longer than it may" in fault.text
    died(session, "hang")  # the limit holds in the new session, too
    session.set_watchdog(0)


def test_the_watchdog_is_for_each_repetition(device: Device) -> None:
    session = device.session
    if not session.welcome.has_watchdog:
        return
    increment = session.function("increment")
    cell = DeviceTensor(session.allocate(4), (4,), np.dtype(np.uint8))
    session.set_watchdog(400)
    timing = session.time(increment, [cell], repeat=10, min_repeat_ms=100)
    assert sum(timing.cycles) >= timing.cycles_per_second
    # The counter is read across many ticks of SysTick, and loses none.
    assert max(timing.cycles) - min(timing.cycles) < timing.cycles_per_second // 1000
    works(session)
    session.set_watchdog(0)


def test_failed_checks_are_named_and_nothing_restarts(device: Device) -> None:
    session = device.session
    frames = session.statistics().frames
    for operator, status in [
        ("refuse", "TVM_ERROR_WORKSPACE"),
        ("exhaust", "TVM_ERROR_WORKSPACE"),
        ("increment", "TVM_ERROR_ARGUMENT_COUNT"),
    ]:
        session.call(session.function(operator), [])
        with pytest.raises(StatusError, match=f"call of {operator}: .*found {status}"):
            session.flush()
    works(session)
    assert session.statistics().frames > frames


def test_statistics_per_operator(device: Device) -> None:
    session = device.session
    session.reset()
    works(session)
    spend, increment = session.function("spend"), session.function("increment")
    session.call(spend, [])
    session.call(spend, [])
    spent, light = session.function_statistics(spend), session.function_statistics(increment)
    assert (spent.calls, light.calls) == (2, 1)
    assert spent.cycles > 0
    assert (spent.workspace_peak_bytes, light.workspace_peak_bytes) == (1024, 0)
    assert 150 < spent.stack_peak_bytes - light.stack_peak_bytes < 1024
    total = session.statistics()
    assert total.stack_bytes == load_board(device.board).stack_bytes
    assert total.stack_peak_bytes == spent.stack_peak_bytes
    assert total.workspace_peak_bytes == 1024
    assert total.calls == spent.calls + light.calls


def wire(function: int, reason: int, *registers: int) -> bytes:
    return struct.pack("<10I", function, reason, *registers, *[0] * (8 - len(registers)))


def test_faults_without_names_and_symbols() -> None:
    def text(*numbers: int) -> str:
        return read_fault(wire(*numbers), {}, None).text

    assert text(1, 1, 0x100, 0, 0, 5) == "bus fault at pc 0x00000100"
    assert text(1, 2, 0x100, 0, 0, 5, 0x44) == (
        "load access fault at pc 0x00000100, address 0x00000044"
    )
    assert text(1, 2, 0x100, 0, 0, 99) == "trap 0x63 at pc 0x00000100"
    assert text(0xFFFFFFFF, 5, 3) == "the program ended with status 3"
    assert text(0xFFFFFFFF, 77) == "fault of unknown kind 77"
    assert read_fault(wire(0xFFFFFFFF, 5), {0: "f"}, None).function is None
    assert read_fault(wire(0, 4), {0: "f"}, None).name == "f"


@given(st.binary(max_size=FAULT_BYTES + 1) | st.binary(min_size=FAULT_BYTES, max_size=FAULT_BYTES))
def test_any_numbers_make_a_fault_or_an_error(numbers: bytes) -> None:
    if len(numbers) != FAULT_BYTES:
        with pytest.raises(ProtocolError, match="another size"):
            read_fault(numbers, {}, None)
    else:
        assert read_fault(numbers, {}, None).text.isprintable()
