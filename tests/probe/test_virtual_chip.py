"""The virtual chip: what a debugger finds there, and programs that run on it under control."""

from __future__ import annotations

import struct

import pytest

from tests.probe import core_debug as cd
from tests.probe import debug_port as dp
from tests.probe.raw_probe import RawProbe
from tests.probe.virtual_chip import DTCM, FLASH, IDLE, SRAM, virtual_chip

# r0 = 10 + 9 + ... + 1
SUM = struct.pack("<6H", 0x2000, 0x210A, 0x1840, 0x3901, 0xD1FC, 0xBE00)
SUM_LOOP, SUM_END = 4, 10
VTOR, CFSR, HFSR, BFAR = 0xE000ED08, 0xE000ED28, 0xE000ED2C, 0xE000ED38
DWT_CTRL, DWT_CYCCNT = 0xE0001000, 0xE0001004
PC, SP, XPSR = 15, 13, 16


@pytest.fixture
def probe() -> RawProbe:
    probe = RawProbe(virtual_chip())
    probe.halt()
    return probe


def put(probe: RawProbe, address: int, code: bytes) -> None:
    """Code in RAM, and the program counter on it."""
    for offset in range(0, len(code), 4):
        probe.write(address + offset, int.from_bytes(code[offset : offset + 4], "little"))
    probe.set_register(PC, address)


def resume(probe: RawProbe) -> None:
    """Until the core halts, by itself."""
    probe.write(cd.DFSR, 0x1F)
    probe.control(cd.C_DEBUGEN)
    for _ in range(1000):
        if probe.read(cd.DHCSR) & cd.S_HALT:
            return
    raise AssertionError("the core does not halt")


def test_it_idles_in_its_reset_handler() -> None:
    probe = RawProbe(virtual_chip())
    for _ in range(3):
        probe.port.poll()
    probe.halt()
    assert probe.register(PC) == FLASH + len(IDLE) - 2
    assert probe.register(SP) == SRAM + 0x40000
    assert probe.register(XPSR) & 1 << 24


def test_memories(probe: RawProbe) -> None:
    for address in (0x0, 0x3FFC, DTCM, DTCM + 0xFFFC, SRAM, SRAM + 0x3FFFC):
        probe.write(address, address ^ 0x12345678)
        assert probe.read(address) == address ^ 0x12345678
    assert probe.read(FLASH) == SRAM + 0x40000
    assert not probe.port.faulted


@pytest.mark.parametrize("address", [0x4000, FLASH + 0x100000, SRAM + 0x40000, 0x60000000])
def test_beyond_the_memories(probe: RawProbe, address: int) -> None:
    probe.read(address)
    assert probe.port.faulted


def test_flash_memory_is_locked(probe: RawProbe) -> None:
    probe.write(FLASH, 0)
    assert probe.port.faulted


def test_a_program_runs_to_its_bkpt(probe: RawProbe) -> None:
    put(probe, SRAM, SUM)
    resume(probe)
    assert probe.register(PC) == SRAM + SUM_END
    assert probe.register(0) == 55
    assert probe.read(cd.DFSR) == cd.DFSR_BKPT


def test_a_program_runs_to_a_breakpoint(probe: RawProbe) -> None:
    put(probe, SRAM, SUM)
    probe.write(cd.FP_CTRL, 3)
    probe.write(cd.FP_COMP0, SRAM + SUM_LOOP + 2 | 1)
    resume(probe)
    assert (probe.register(PC), probe.register(0)) == (SRAM + SUM_LOOP + 2, 10)
    probe.write(cd.FP_COMP0, 0)
    probe.control(cd.C_DEBUGEN | cd.C_STEP)
    probe.write(cd.FP_COMP0, SRAM + SUM_LOOP + 2 | 1)
    resume(probe)
    assert probe.register(0) == 19


def test_steps(probe: RawProbe) -> None:
    put(probe, SRAM, SUM)
    places = []
    for _ in range(6):
        probe.control(cd.C_DEBUGEN | cd.C_STEP)
        assert probe.read(cd.DHCSR) & cd.S_HALT
        places.append(probe.register(PC) - SRAM)
    assert places == [2, 4, 6, 8, 4, 6]
    assert probe.register(0) == 19


def test_code_may_be_replaced(probe: RawProbe) -> None:
    put(probe, SRAM, SUM)
    resume(probe)
    put(probe, SRAM, SUM[:2] + b"\x03\x21" + SUM[4:])  # from 3 on
    resume(probe)
    assert probe.register(0) == 6


def test_a_running_core_is_halted(probe: RawProbe) -> None:
    put(probe, SRAM, struct.pack("<2H", 0x3001, 0xE7FD))  # r0 += 1 for ever
    probe.control(cd.C_DEBUGEN)
    for _ in range(3):
        assert not probe.read(cd.DHCSR) & cd.S_HALT
    probe.halt()
    assert probe.register(PC) in (SRAM, SRAM + 2)
    assert probe.register(0) > 1000


def test_floating_point_registers(probe: RawProbe) -> None:
    probe.set_register(0x40 + 7, 0x3F800000)
    assert probe.register(0x40 + 7) == 0x3F800000


def test_a_fault_goes_to_its_handler(probe: RawProbe) -> None:
    put(probe, SRAM, struct.pack("<4H", 0x6800, 0xBE00, 0, 0))  # ldr r0, [r0]
    handler = SRAM + 0x200
    put(probe, handler, struct.pack("<2H", 0xBE00, 0xBE00))
    probe.write(VTOR, SRAM + 0x400)
    probe.write(SRAM + 0x400 + 12, handler | 1)
    probe.set_register(PC, SRAM)
    probe.set_register(0, 0x60000000)
    resume(probe)
    assert probe.register(PC) == handler
    assert probe.register(XPSR) & 0x1FF == 3
    assert probe.read(BFAR) == 0x60000000
    assert probe.read(CFSR) == 1 << 15 | 1 << 9  # BFARVALID, PRECISERR
    assert probe.read(HFSR) == 1 << 30
    assert probe.read(probe.register(SP) + 24) == SRAM  # where it was
    assert probe.read(cd.DFSR) == cd.DFSR_BKPT


def test_a_fault_is_caught(probe: RawProbe) -> None:
    put(probe, SRAM, struct.pack("<2H", 0x6800, 0xBE00))
    probe.set_register(0, 0x60000000)
    probe.write(cd.DEMCR, cd.VC_HARDERR)
    resume(probe)
    assert probe.register(PC) == FLASH + len(IDLE) - 2
    assert probe.read(cd.DFSR) == cd.DFSR_VCATCH


def test_a_fault_in_the_handler_locks_up(probe: RawProbe) -> None:
    put(probe, SRAM, struct.pack("<2H", 0x6800, 0xBE00))
    probe.set_register(0, 0x60000000)
    probe.set_register(XPSR, 0x01000003)
    probe.control(cd.C_DEBUGEN)
    assert probe.read(cd.DHCSR) & (cd.S_HALT | cd.S_LOCKUP) == cd.S_LOCKUP


def test_reset_keeps_memory(probe: RawProbe) -> None:
    probe.write(SRAM, 7)
    probe.write(cd.DEMCR, cd.VC_CORERESET)
    probe.write(cd.AIRCR, 0x05FA0004)
    assert probe.read(cd.DHCSR) & cd.S_HALT
    assert probe.register(PC) == FLASH + len(IDLE) - 2
    assert probe.read(SRAM) == 7


def test_a_program_resets_itself(probe: RawProbe) -> None:
    put(probe, SRAM, struct.pack("<4H", 0x6008, 0xE7FE, 0, 0))  # str r0, [r1]
    probe.set_register(0, 0x05FA0004)
    probe.set_register(1, cd.AIRCR)
    probe.write(cd.DEMCR, cd.VC_CORERESET)
    resume(probe)
    assert probe.read(cd.DFSR) == cd.DFSR_VCATCH
    assert probe.register(PC) == FLASH + len(IDLE) - 2


def test_cycles_are_counted(probe: RawProbe) -> None:
    probe.write(cd.DEMCR, cd.TRCENA)
    probe.write(DWT_CYCCNT, 0)
    probe.write(DWT_CTRL, 1)
    put(probe, SRAM, SUM)
    resume(probe)
    assert 20 < probe.read(DWT_CYCCNT) < 100
    before = probe.read(DWT_CYCCNT)
    assert probe.read(DWT_CYCCNT) == before  # a halted core's clock stands still


def test_nothing_is_left_of_an_unpowered_port() -> None:
    port = virtual_chip(jtag=True)
    port.write_ap(dp.TAR, 0)
    assert port.faulted
