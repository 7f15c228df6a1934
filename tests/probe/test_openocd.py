"""A real OpenOCD on the virtual STM32F746, bit by bit through JTAG, and how all that can fail.

OpenOCD's own target/stm32f7x.cfg describes the chip. Programs are assembled by hand and lie in RAM;
the networks that run this way are in tests/memory.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_SECONDS, REPOSITORY
from tests.probe.core_debug import CoreDebug
from tests.probe.core_profile import CORTEX_M4
from tests.probe.debug_port import DebugPort
from tests.probe.remote_bitbang import RemoteBitbang, bitbang_arguments
from tests.probe.virtual_chip import DTCM, FLASH, IDLE, SRAM, EmulatedCore, virtual_chip
from utvm.device import openocd_process
from utvm.device.memory_access import AccessFaultError, MemoryAccess
from utvm.device.memory_openocd import OpenOcdAccess, open_openocd
from utvm.device.session import DeviceTimeoutError, StreamClosedError
from utvm.support.errors import DeviceError, InputError, ToolchainError
from utvm.target.board import load_board

CHIP = ("-f", "target/stm32f7x.cfg")
NOWHERE = 0x10000000
# movs r1, #0; again: adds r1, r1, r0; subs r0, #1; bne again; end: b end
SUM, SUM_END = struct.pack("<5H", 0x2100, 0x1809, 0x3801, 0xD1FC, 0xE7FE), 8
LOOP, BKPT = b"\xfe\xe7", b"\x00\xbe"
IDLE_LOOP = FLASH + 64  # where the chip's flash has a loop
BRIEF_SECONDS = 0.3  # a deadline that is meant to be missed


def needs_openocd() -> None:
    if shutil.which("openocd") is None:
        pytest.skip("needs OpenOCD: apt install openocd")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RemoteBitbang]:
    needs_openocd()
    with RemoteBitbang(virtual_chip(jtag=True), tmp_path) as server:
        yield server


@pytest.fixture
def access(server: RemoteBitbang) -> Iterator[OpenOcdAccess]:
    access = OpenOcdAccess(
        (*server.openocd, *CHIP), name="virtual", timeout_seconds=PATIENCE_SECONDS
    )
    yield access
    access.close()


def soon() -> float:
    return time.monotonic() + PATIENCE_SECONDS


def brief() -> float:
    return time.monotonic() + BRIEF_SECONDS


def word(access: MemoryAccess, address: int) -> int:
    return int.from_bytes(access.read(address, 4), "little")


def is_running(pid: int) -> bool:
    """Whether the process is there and not just waiting to be buried."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_end(pid: int) -> None:
    deadline = soon()
    while is_running(pid):
        assert time.monotonic() < deadline, "OpenOCD outlives us"
        time.sleep(0.01)


def test_openocd_knows_the_chip(server: RemoteBitbang) -> None:
    command = ["openocd", "-c", "gdb_port disabled; telnet_port disabled; tcl_port disabled"]
    command += [*server.openocd, *CHIP, "-c", "init; halt; shutdown"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS).stderr
    assert "JTAG tap: stm32f7x.cpu tap/device found: 0x5ba00477 (mfg: 0x23b (ARM Ltd)" in said
    assert "JTAG tap: stm32f7x.bs tap/device found: 0x06449041 (mfg: 0x020 (STMicro" in said
    assert "Cortex-M7 r0p1 processor detected" in said
    assert "target has 8 breakpoints" in said
    assert "halted due to debug-request, current mode: Thread" in said
    assert "Error" not in said


def test_a_core_is_halted_after_its_reset(access: OpenOcdAccess) -> None:
    checked: MemoryAccess = access
    assert checked.name == "virtual"
    assert word(access, 0xE000ED00) == 0x410FC271, "CPUID of a Cortex-M7"
    assert word(access, 0xE0042000) == 0x10016449, "DBGMCU_IDCODE of an STM32F74x"
    assert access.register("pc") == IDLE_LOOP
    assert access.register("sp") == SRAM + 0x40000
    assert access.register("xpsr") == 1 << 24


@pytest.mark.parametrize(
    ("address", "size_bytes"),
    [(SRAM, 1), (SRAM + 1, 2), (SRAM + 3, 7), (DTCM + 2, 1030), (SRAM + 0x3FFFD, 3), (0, 64)],
)
def test_memory_of_any_address_and_size(
    access: OpenOcdAccess, address: int, size_bytes: int
) -> None:
    data = random.Random(size_bytes).randbytes(size_bytes)
    before, behind = address & ~3, -(-(address + size_bytes) // 4) * 4
    access.write(before, bytes(behind - before))
    access.write(address, data)
    zeros = bytes(address - before), bytes(behind - address - size_bytes)
    assert access.read(before, behind - before) == zeros[0] + data + zeros[1]


def test_more_memory_than_one_command_takes(access: OpenOcdAccess) -> None:
    data = random.Random(1).randbytes(20_001)
    access.write(SRAM + 5, data)
    assert access.read(SRAM + 5, len(data)) == data
    assert access.read(SRAM, 0) == b""
    access.write(SRAM, b"")


def test_registers(access: OpenOcdAccess) -> None:
    names = (*(f"r{number}" for number in range(13)), "lr")
    for index, name in enumerate(names):
        access.set_register(name, 0x01010101 * index)
    access.set_register("sp", SRAM + 0x100)
    access.set_register("pc", SRAM)
    assert [access.register(name) for name in names] == [0x01010101 * i for i in range(len(names))]
    assert (access.register("sp"), access.register("pc")) == (SRAM + 0x100, SRAM)
    with pytest.raises(AccessFaultError, match="virtual: register r99 is out of reach; found unk"):
        access.register("r99")


def test_a_program_runs_to_a_breakpoint(access: OpenOcdAccess) -> None:
    access.write(SRAM, SUM)
    for count, total in ((10, 55), (1000, 500_500)):
        access.set_register("r0", count)
        access.set_register("pc", SRAM)
        access.run(SRAM + SUM_END, soon())
        assert access.register("pc") == SRAM + SUM_END
        assert access.register("r1") == total


def test_a_breakpoint_in_flash_is_the_cores_own(access: OpenOcdAccess) -> None:
    access.write(SRAM, bytes.fromhex("00480047") + (IDLE_LOOP | 1).to_bytes(4, "little"))
    access.set_register("pc", SRAM)  # ldr r0, [pc]; bx r0
    access.run(IDLE_LOOP, soon())
    assert access.register("r0") == IDLE_LOOP | 1
    assert access.read(IDLE_LOOP, 2) == LOOP


def test_new_code_at_an_old_place_runs(access: OpenOcdAccess) -> None:
    for value in (1, 2, 3):
        access.write(SRAM, bytes([value, 0x20]) + LOOP)  # movs r0, #value
        access.set_register("pc", SRAM)
        access.run(SRAM + 2, soon())
        assert access.register("r0") == value


def test_an_instruction_cache_is_emptied_before_new_code_runs(
    access: OpenOcdAccess, server: RemoteBitbang, monkeypatch: pytest.MonkeyPatch
) -> None:
    ccr, cache_on, iciallu = 0xE000ED14, 1 << 17, 0xE000EF50
    access.write(ccr, (word(access, ccr) | cache_on).to_bytes(4, "little"))
    access.write(SRAM, LOOP)
    access.set_register("pc", SRAM)
    written: list[int] = []
    core = server.port.core
    write = core.write

    def watch(address: int, value: int, size_bytes: int) -> None:
        written.append(address)
        write(address, value, size_bytes)

    monkeypatch.setattr(core, "write", watch)
    access.run(SRAM, soon())
    access.run(SRAM, soon())
    assert written.count(iciallu) == 1, "for the first run only"


def test_an_older_core_needs_a_breakpoint_in_memory(tmp_path: Path) -> None:
    needs_openocd()
    # Literal comparators, which OpenOCD clears as well, are not there.
    profile = replace(CORTEX_M4, literals=0)
    port = DebugPort(CoreDebug(EmulatedCore(IDLE), profile), jtag=True)
    with RemoteBitbang(port, tmp_path) as server:
        access = OpenOcdAccess((*server.openocd, *CHIP), timeout_seconds=PATIENCE_SECONDS)
        access.write(SRAM, SUM)
        access.set_register("r0", 10)
        access.set_register("pc", SRAM)
        access.run(SRAM + SUM_END, soon())
        assert (access.register("pc"), access.register("r1")) == (SRAM + SUM_END, 55)
        assert access.read(SRAM, len(SUM)) == SUM, "what lay there is back"
        access.close()


def test_addresses_that_the_bus_refuses(access: OpenOcdAccess) -> None:
    access.write(SRAM, b"kept")
    with pytest.raises(AccessFaultError) as read:
        access.read(NOWHERE, 4)
    assert str(read.value) == (
        "virtual: the bus refuses to read 4 bytes at 0x10000000; "
        "found Failed to read memory at 0x10000000"
    )
    with pytest.raises(AccessFaultError, match="refuses to write 2 bytes at 0x10000000; found Fa"):
        access.write(NOWHERE, b"ab")
    assert access.read(SRAM, 4) == b"kept", "the error is cleared"


def test_a_core_that_halts_elsewhere_is_named(access: OpenOcdAccess) -> None:
    access.write(SRAM, LOOP + BKPT)
    access.set_register("pc", SRAM + 2)
    with pytest.raises(AccessFaultError, match=r"expected pc 0x20010100; found pc 0x20010002; hi"):
        access.run(SRAM + 0x100, soon())
    access.write(SRAM, SUM)
    access.set_register("r0", 4)
    access.set_register("pc", SRAM)
    access.run(SRAM + SUM_END, soon())
    assert access.register("r1") == 10


def test_a_fault_goes_to_the_programs_handler(access: OpenOcdAccess) -> None:
    vtor, table, handler = 0xE000ED08, SRAM + 0x400, SRAM + 0x20
    access.write(table, struct.pack("<16I", 0, *[handler | 1] * 15))
    access.write(vtor, table.to_bytes(4, "little"))
    access.write(handler, LOOP)
    access.write(SRAM, b"\x00\xde")  # udf #0
    access.set_register("pc", SRAM)
    access.run(handler, soon())
    assert access.register("xpsr") & 0x1FF == 3, "in HardFault"
    assert word(access, access.register("sp") + 24) == SRAM, "where it came from"


def test_an_endless_loop_meets_its_deadline(access: OpenOcdAccess) -> None:
    access.write(SRAM, LOOP + LOOP)
    access.set_register("pc", SRAM)
    with pytest.raises(DeviceTimeoutError, match="expected pc 0x20010002; found pc 0x20010000; hi"):
        access.run(SRAM + 2, brief())
    access.set_register("pc", SRAM + 2)
    access.run(SRAM + 2, soon())


def test_an_interrupt_halts_the_core(
    access: OpenOcdAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    access.write(SRAM, LOOP + LOOP)
    access.set_register("pc", SRAM)
    timer = threading.Timer(BRIEF_SECONDS, signal.raise_signal, (signal.SIGINT,))
    wait = access._wait

    def wait_for_interrupt(deadline: float) -> bool:
        timer.start()
        return wait(deadline)

    monkeypatch.setattr(access, "_wait", wait_for_interrupt)
    with pytest.raises(KeyboardInterrupt):
        access.run(SRAM + 2, soon())
    timer.join()
    monkeypatch.undo()
    assert access.register("pc") == SRAM
    access.set_register("pc", SRAM + 2)
    access.run(SRAM + 2, soon())


def test_a_reset_keeps_memory(access: OpenOcdAccess) -> None:
    access.write(SRAM, b"kept")
    access.set_register("pc", SRAM)
    access.set_register("r5", 5)
    access.reset()
    assert (access.register("pc"), access.register("sp")) == (IDLE_LOOP, SRAM + 0x40000)
    assert access.read(SRAM, 4) == b"kept"


def test_a_killed_openocd_is_named_and_started_anew(access: OpenOcdAccess) -> None:
    access.write(SRAM, LOOP + LOOP)
    access.set_register("pc", SRAM)
    killed = access.pid
    timer = threading.Timer(BRIEF_SECONDS, os.kill, (killed, signal.SIGKILL))
    timer.start()
    with pytest.raises(StreamClosedError) as error:
        access.run(SRAM + 2, soon())
    timer.join()
    assert str(error.value) == "virtual: OpenOCD has ended; found signal SIGKILL"
    for again in (lambda: access.read(SRAM, 4), lambda: access.write(SRAM, b"x")):
        with pytest.raises(StreamClosedError, match="virtual: OpenOCD has ended"):
            again()
    access.reset()
    assert access.pid != killed
    assert access.read(SRAM, 4) == LOOP + LOOP, "the chip has kept its power"
    wait_end(killed)


def test_a_target_that_goes_away_is_named(tmp_path: Path) -> None:
    needs_openocd()
    with RemoteBitbang(virtual_chip(jtag=True), tmp_path) as server:
        arguments = (*server.openocd, *CHIP)
        access = OpenOcdAccess(arguments, name="virtual", timeout_seconds=PATIENCE_SECONDS)
        server.address.unlink()
    with pytest.raises(StreamClosedError, match="virtual: the probe has lost the core; found Fail"):
        access.read(SRAM, 4)
    with pytest.raises(DeviceError, match="virtual: OpenOCD does not reach the board; found statu"):
        access.reset()
    with RemoteBitbang(virtual_chip(jtag=True), tmp_path):
        access.reset()
        assert access.register("pc") == IDLE_LOOP
        access.close()
    with pytest.raises(StreamClosedError, match="virtual: OpenOCD has been ended"):
        access.read(SRAM, 4)
    access.close()


def test_an_openocd_that_hangs_misses_its_deadline(access: OpenOcdAccess) -> None:
    access.write(SRAM, b"kept")
    access.timeout_seconds = BRIEF_SECONDS
    os.kill(access.pid, signal.SIGSTOP)
    with pytest.raises(DeviceTimeoutError, match="virtual: OpenOCD does not answer; hint: the pr"):
        access.register("r0")
    os.kill(access.pid, signal.SIGCONT)
    access.timeout_seconds = PATIENCE_SECONDS
    assert access.register("pc") == IDLE_LOOP, "the late answer is not taken for this one"
    assert access.read(SRAM, 4) == b"kept"


def test_no_openocd_outlives_us(server: RemoteBitbang, tmp_path: Path) -> None:
    code = (
        "import sys, time; from utvm.device.memory_openocd import OpenOcdAccess;"
        f"access = OpenOcdAccess(sys.argv[1:], timeout_seconds={PATIENCE_SECONDS});"
        "print(access.pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *server.openocd, *CHIP],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout as output:
        pid = int(output.readline())
    assert is_running(pid)
    process.kill()
    process.wait()
    wait_end(pid)


def test_closing_ends_openocd(access: OpenOcdAccess) -> None:
    pid = access.pid
    access.close()
    assert not is_running(pid)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^nrf5340dk: OpenOCD has no configuration for the bo"):
        open_openocd(load_board("nrf5340dk"))
    needs_openocd()
    with pytest.raises(DeviceError) as no_file:
        OpenOcdAccess(("-f", "target/nothing.cfg"), name="mine")
    assert str(no_file.value) == (
        "mine: OpenOCD does not reach the board; found status 1, Can't find target/nothing.cfg; "
        "hint: OpenOCD needs that file"
    )
    with pytest.raises(DeviceError) as no_probe:
        OpenOcdAccess((*bitbang_arguments(tmp_path / "none"), *CHIP), hint="plug it in")
    assert "OpenOCD does not reach the board; found status 1, " in str(no_probe.value)
    assert str(no_probe.value).endswith("hint: plug it in")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolchainError) as no_program:
        open_openocd(load_board("nucleo_f746zg"))
    assert str(no_program.value) == "openocd is not installed; hint: apt install openocd"


def test_the_users_folder_holds_no_configuration(
    server: RemoteBitbang, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "target"
    folder.mkdir()
    (folder / "stm32f7x.cfg").write_text("error planted")
    monkeypatch.chdir(tmp_path)
    OpenOcdAccess((*server.openocd, *CHIP), timeout_seconds=PATIENCE_SECONDS).close()


def test_a_configuration_without_a_core_is_named(server: RemoteBitbang) -> None:
    with pytest.raises(DeviceError, match="mine: OpenOCD is told of no core; found invalid comma"):
        OpenOcdAccess(server.openocd, name="mine")


def fake_openocd(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A program in OpenOCD's place."""
    program = folder / "openocd"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_an_old_openocd_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_openocd(tmp_path, monkeypatch, "printf 'Open On-Chip Debugger 0.11.0\\032'; exec cat")
    with pytest.raises(ToolchainError) as error:
        OpenOcdAccess(CHIP)
    assert str(error.value) == (
        "OpenOCD is too old; expected version 0.12 or newer; found Open On-Chip Debugger 0.11.0"
    )


def test_an_openocd_that_never_answers_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "pid"
    text = f"echo $$ > {started}.new; mv {started}.new {started}; exec sleep 600"
    fake_openocd(tmp_path, monkeypatch, text)
    for seconds in (0.5, 5.0, 50.0):  # until it has begun
        monkeypatch.setattr(openocd_process, "START_SECONDS", seconds)
        with pytest.raises(DeviceTimeoutError, match="mine: OpenOCD does not answer"):
            OpenOcdAccess(CHIP, name="mine")
        if started.exists():
            break
    assert not is_running(int(started.read_text()))
