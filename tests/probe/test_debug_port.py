"""The virtual debug port over a core made of a dictionary: each register by the manuals."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tests.probe import core_debug as cd
from tests.probe import debug_port as dp
from tests.probe.core_debug import CoreDebug, Stop
from tests.probe.core_profile import CORTEX_M4, STM32F746, CoreProfile
from tests.probe.debug_port import DebugPort
from tests.probe.raw_probe import POWER, RawProbe
from utvm.device.memory_access import AccessFaultError

RAM, RAM_BYTES = 0x20000000, 0x10000


class FakeCore:
    """Some memory, registers, and runs that end as the test says."""

    def __init__(self) -> None:
        self.memory = bytearray(RAM_BYTES)
        self.registers: dict[str, int] = {}
        self.ends: list[Stop] = []
        self.runs: list[tuple[set[int], int]] = []
        self.resets = 0
        self.handles_faults = False
        self.demcr = 0

    def _check(self, address: int, size_bytes: int) -> int:
        if not RAM <= address <= RAM + RAM_BYTES - size_bytes:
            raise AccessFaultError("nothing is there")
        return address - RAM

    def read(self, address: int, size_bytes: int) -> bytes:
        if address == cd.DEMCR:
            return self.demcr.to_bytes(4, "little")
        offset = self._check(address, size_bytes)
        return bytes(self.memory[offset : offset + size_bytes])

    def write(self, address: int, data: bytes) -> None:
        if address == cd.DEMCR:
            self.demcr = int.from_bytes(data, "little")
            return
        offset = self._check(address, len(data))
        self.memory[offset : offset + len(data)] = data

    def register(self, name: str) -> int:
        return self.registers.get(name, 0)

    def set_register(self, name: str, value: int) -> None:
        self.registers[name] = value

    def run(self, stops: Collection[int], instruction_limit: int) -> Stop:
        self.runs.append((set(stops), instruction_limit))
        return self.ends.pop(0) if self.ends else Stop.LIMIT

    def take_fault(self) -> bool:
        return self.handles_faults

    def reset(self) -> None:
        self.resets += 1
        self.registers = {"pc": 0x08000000}


class Probe(RawProbe):
    """A probe of the core made of a dictionary."""

    def __init__(self, profile: CoreProfile = STM32F746, *, jtag: bool = False) -> None:
        self.core = FakeCore()
        super().__init__(DebugPort(CoreDebug(self.core, profile), jtag=jtag))


@pytest.fixture
def probe() -> Probe:
    return Probe()


# Debug port.


def test_identification(probe: Probe) -> None:
    assert probe.port.read_dp(dp.DPIDR) & 0xFFF == 0x477  # Arm
    assert probe.port.read_dp(dp.DPIDR) >> 12 & 0xF == 2  # DPv2
    assert probe.ap(dp.IDR) == 0x74770001
    assert probe.ap(dp.CFG) == 0
    assert probe.ap(dp.CSW) & 1 << 6  # transfers are possible


def test_power_requests_are_acknowledged() -> None:
    port = DebugPort(CoreDebug(FakeCore(), STM32F746))
    assert port.read_dp(dp.CTRL_STAT) & 0xF0000000 == 0
    port.write_dp(dp.CTRL_STAT, dp.CSYSPWRUPREQ)
    assert port.read_dp(dp.CTRL_STAT) & 0xF0000000 == 0xC0000000
    port.write_dp(dp.CTRL_STAT, POWER)
    assert port.read_dp(dp.CTRL_STAT) & 0xF0000000 == 0xF0000000


def test_an_access_without_power_is_an_error() -> None:
    port = DebugPort(CoreDebug(FakeCore(), STM32F746))
    port.write_dp(dp.SELECT, 0xF0)
    assert port.read_ap(0xC) == 0
    assert port.faulted


def test_an_access_port_that_is_not_there_reads_as_zero(probe: Probe) -> None:
    probe.port.write_dp(dp.SELECT, 1 << 24 | 0xF0)
    assert probe.port.read_ap(0xC) == 0
    assert not probe.port.faulted


def test_a_bus_fault_is_sticky_until_abort(probe: Probe) -> None:
    assert probe.read(0x60000000) == 0
    assert probe.port.read_dp(dp.CTRL_STAT) & dp.STICKYERR
    probe.write(RAM, 1)  # refused
    probe.port.write_dp(dp.CTRL_STAT, POWER | dp.STICKYERR)  # clears nothing over SWD
    assert probe.port.faulted
    probe.port.write_dp(dp.ABORT, 1 << 2)
    assert not probe.port.faulted
    assert probe.read(RAM) == 0
    probe.write(RAM, 7)
    assert probe.read(RAM) == 7


def test_jtag_clears_sticky_flags_by_writing_them() -> None:
    probe = Probe(jtag=True)
    probe.read(0x60000000)
    assert probe.port.faulted
    probe.port.write_dp(dp.CTRL_STAT, POWER | dp.STICKYERR)
    assert not probe.port.faulted


def test_rdbuff_holds_what_the_access_port_gave(probe: Probe) -> None:
    probe.write(RAM, 0x12345678)
    probe.read(RAM)
    assert probe.port.read_dp(dp.RDBUFF) == 0x12345678


def test_other_banks_of_the_debug_port_hide_ctrl_stat(probe: Probe) -> None:
    probe.port.write_dp(dp.SELECT, 1)
    assert probe.port.read_dp(dp.CTRL_STAT) == 0
    probe.port.write_dp(dp.CTRL_STAT, 0)
    probe.port.write_dp(dp.SELECT, 0)
    assert probe.port.read_dp(dp.CTRL_STAT) & POWER == POWER


# Memory access port.


@pytest.mark.parametrize(("size_bytes", "address"), [(1, 3), (2, 2), (4, 0)])
def test_data_lies_on_the_lanes_of_its_address(probe: Probe, size_bytes: int, address: int) -> None:
    probe.size(size_bytes)
    probe.write(RAM + address, 0x44332211)
    lanes = bytes.fromhex("11223344")[address : address + size_bytes]
    assert probe.core.memory[:4] == bytes(address) + lanes
    assert probe.read(RAM + address) == int.from_bytes(lanes, "little") << 8 * address


@pytest.mark.parametrize("size_bytes", [1, 2, 4])
def test_addresses_advance_within_a_kilobyte(probe: Probe, size_bytes: int) -> None:
    probe.size(size_bytes)
    probe.set_ap(dp.TAR, RAM + 0x400 - size_bytes)
    probe.set_ap(dp.DRW, 0)
    assert probe.ap(dp.TAR) == RAM
    probe.ap(dp.DRW)
    assert probe.ap(dp.TAR) == RAM + size_bytes


def test_addresses_stay_without_increment(probe: Probe) -> None:
    probe.size(4, increment=0)
    probe.write(RAM + 8, 1)
    assert probe.ap(dp.TAR) == RAM + 8


@pytest.mark.parametrize("size_bytes", [1, 2])
def test_packed_transfers_fill_a_word(probe: Probe, size_bytes: int) -> None:
    probe.size(size_bytes, increment=2)
    probe.write(RAM, 0x44332211)
    assert probe.ap(dp.TAR) == RAM + 4
    assert probe.core.memory[:4].hex() == "11223344"
    assert probe.read(RAM) == 0x44332211


def test_sizes_that_are_not_there_do_not_stick(probe: Probe) -> None:
    probe.set_ap(dp.CSW, 0x23000013)  # 64 bits
    assert probe.ap(dp.CSW) & 7 == 2
    probe.set_ap(dp.CSW, 0x23000032)  # a reserved increment
    assert probe.ap(dp.CSW) & 0x37 == 0x12


def test_banked_data_registers_reach_four_words(probe: Probe) -> None:
    probe.set_ap(dp.TAR, RAM + 0x20)
    for index in range(4):
        probe.set_ap(dp.BD0 + 4 * index, index + 1)
    assert probe.core.memory[0x20:0x30] == bytes.fromhex("01000000020000000300000004000000")
    assert [probe.ap(dp.BD0 + 4 * index) for index in range(4)] == [1, 2, 3, 4]
    assert probe.ap(dp.TAR) == RAM + 0x20


# ROM tables.


def identification(probe: Probe, base: int) -> tuple[int, int]:
    """Class and part of a component; its other fields are Arm's or ST's."""
    cidr = [probe.read(base + 0xFF0 + 4 * index) for index in range(4)]
    assert [cidr[0], cidr[1] & 0xF, cidr[2], cidr[3]] == [0x0D, 0, 0x05, 0xB1]
    pidr = [probe.read(base + 0xFE0 + 4 * index) for index in range(4)]
    return cidr[1] >> 4, pidr[0] | (pidr[1] & 0xF) << 8


def components(probe: Probe, table: int) -> list[int]:
    """Where the entries of a ROM table lead."""
    found = []
    while entry := probe.read(table + 4 * len(found)):
        assert entry & 3 == 3
        found.append((table + (entry & 0xFFFFF000)) & 0xFFFFFFFF)
    return found


def test_rom_tables_lead_to_the_core(probe: Probe) -> None:
    base = probe.ap(dp.BASE)
    assert base & 3 == 3
    assert identification(probe, base & ~0xFFF) == (1, 0x449)
    [table] = components(probe, base & ~0xFFF)
    assert identification(probe, table) == (1, 0x4C7)
    parts = {address: identification(probe, address) for address in components(probe, table)}
    assert parts == {
        0xE000E000: (14, 0x00C),
        0xE0001000: (14, 0x002),
        0xE0002000: (14, 0x00E),
    }


def test_chip_and_core_are_identified(probe: Probe) -> None:
    assert probe.read(0xE000ED00) == 0x410FC271
    assert probe.read(0xE0042000) == 0x10016449
    probe.write(0xE000ED00, 0)
    assert probe.read(0xE000ED00) == 0x410FC271
    probe.write(0xE0042004, 7)
    assert probe.read(0xE0042004) == 7
    probe.size(2)
    assert probe.read(0x1FF0F442) >> 16 == 1024


# Debug registers.


def test_halting_takes_the_key_and_debugen(probe: Probe) -> None:
    probe.write(cd.DHCSR, cd.C_DEBUGEN | cd.C_HALT)
    assert not probe.read(cd.DHCSR) & (cd.S_HALT | cd.C_DEBUGEN)
    probe.control(cd.C_HALT)
    assert not probe.read(cd.DHCSR) & cd.S_HALT
    probe.halt()
    value = probe.read(cd.DHCSR)
    assert value & 0xF == cd.C_DEBUGEN | cd.C_HALT
    assert value & cd.S_HALT
    assert probe.read(cd.DFSR) == cd.DFSR_HALTED


def test_a_halted_core_does_not_run(probe: Probe) -> None:
    probe.halt()
    probe.core.runs.clear()
    probe.port.poll()
    probe.read(cd.DHCSR)
    assert probe.core.runs == []
    probe.control(cd.C_DEBUGEN)
    assert not probe.read(cd.DHCSR) & cd.S_HALT
    probe.port.poll()
    assert len(probe.core.runs) == 2


def test_without_debugen_the_core_goes_on(probe: Probe) -> None:
    probe.halt()
    probe.control(0)
    assert not probe.read(cd.DHCSR) & (cd.S_HALT | cd.C_HALT)


def test_a_step_runs_one_instruction(probe: Probe) -> None:
    probe.halt()
    probe.write(cd.DFSR, 0x1F)
    assert probe.read(cd.DFSR) == 0
    probe.core.runs.clear()
    probe.control(cd.C_DEBUGEN | cd.C_STEP | cd.C_MASKINTS)
    assert probe.core.runs == [(set(), 1)]
    value = probe.read(cd.DHCSR)
    assert value & cd.S_HALT
    assert value & cd.S_RETIRE_ST
    assert value & 0xF == cd.C_DEBUGEN | cd.C_HALT | cd.C_STEP | cd.C_MASKINTS
    assert probe.read(cd.DFSR) == cd.DFSR_HALTED


def test_status_bits_are_cleared_when_they_are_read(probe: Probe) -> None:
    assert probe.read(cd.DHCSR) & cd.S_RESET_ST
    probe.halt()
    probe.read(cd.DHCSR)
    assert not probe.read(cd.DHCSR) & (cd.S_RESET_ST | cd.S_RETIRE_ST)


def test_registers_by_number(probe: Probe) -> None:
    probe.halt()
    for number in (*range(17), 33, 0x40, 0x5F):
        probe.set_register(number, 1000 + number)
    assert probe.core.registers == {
        **{f"r{number}": 1000 + number for number in range(13)},
        "sp": 1013,
        "lr": 1014,
        "pc": 1015,
        "xpsr": 1016,
        "fpscr": 1033,
        "s0": 1064,
        "s31": 1095,
    }
    assert probe.register(15) == 1015
    probe.set_register(17, 4)
    probe.set_register(18, 5)
    assert (probe.core.registers["msp"], probe.core.registers["psp"]) == (4, 5)
    probe.set_register(20, 0x03010201)
    names = ("control", "faultmask", "basepri", "primask")
    assert [probe.core.registers[name] for name in names] == [3, 1, 2, 1]
    assert probe.register(20) == 0x03010201
    assert probe.register(19) == 0  # there is none


def test_registers_of_a_running_core_are_not_ready(probe: Probe) -> None:
    probe.write(cd.DCRSR, 0)
    assert not probe.read(cd.DHCSR) & cd.S_REGRDY


def test_a_bkpt_halts_only_under_a_debugger(probe: Probe) -> None:
    probe.core.ends = [Stop.BKPT]
    probe.port.poll()
    assert probe.read(cd.DHCSR) & (cd.S_HALT | cd.S_LOCKUP) == cd.S_LOCKUP
    probe.halt()
    probe.control(cd.C_DEBUGEN)
    probe.core.ends = [Stop.BKPT]
    assert probe.read(cd.DHCSR) & (cd.S_HALT | cd.S_LOCKUP) == cd.S_HALT
    assert probe.read(cd.DFSR) == cd.DFSR_HALTED | cd.DFSR_BKPT


def test_a_fault_without_handler_locks_the_core_up(probe: Probe) -> None:
    probe.control(cd.C_DEBUGEN)
    probe.core.ends = [Stop.FAULT]
    assert probe.read(cd.DHCSR) & (cd.S_HALT | cd.S_LOCKUP) == cd.S_LOCKUP
    probe.core.runs.clear()
    probe.port.poll()
    assert probe.core.runs == []
    probe.halt()
    assert probe.read(cd.DHCSR) & (cd.S_HALT | cd.S_LOCKUP) == cd.S_HALT


def test_a_fault_is_caught_in_front_of_its_handler(probe: Probe) -> None:
    probe.core.handles_faults = True
    probe.control(cd.C_DEBUGEN)
    probe.core.ends = [Stop.FAULT]
    assert not probe.read(cd.DHCSR) & (cd.S_HALT | cd.S_LOCKUP)
    probe.write(cd.DEMCR, cd.VC_HARDERR)
    probe.core.ends = [Stop.FAULT]
    assert probe.read(cd.DHCSR) & (cd.S_HALT | cd.S_LOCKUP) == cd.S_HALT
    assert probe.read(cd.DFSR) == cd.DFSR_VCATCH


def test_active_exceptions_are_cleared_on_demand(probe: Probe) -> None:
    probe.halt()
    probe.set_register(16, 0x01000003)
    probe.write(cd.AIRCR, 0x05FA0002)
    assert probe.register(16) == 0x01000000


def test_reset_is_caught_when_asked_for(probe: Probe) -> None:
    probe.halt()
    probe.write(cd.DEMCR, cd.VC_CORERESET | cd.TRCENA)
    resets = probe.core.resets
    probe.write(cd.AIRCR, 0x05FA0004)
    assert probe.core.resets == resets + 1
    value = probe.read(cd.DHCSR)
    assert value & cd.S_HALT
    assert value & cd.S_RESET_ST
    assert probe.read(cd.DFSR) & cd.DFSR_VCATCH
    assert probe.read(cd.DEMCR) == cd.VC_CORERESET | cd.TRCENA
    assert probe.register(15) == 0x08000000


def test_a_reset_that_is_not_caught_lets_the_core_run(probe: Probe) -> None:
    probe.halt()
    probe.write(cd.AIRCR, 0x05FA0004)
    assert not probe.read(cd.DHCSR) & (cd.S_HALT | cd.C_HALT)
    resets = probe.core.resets
    probe.write(cd.AIRCR, 4)  # without the key
    assert probe.core.resets == resets
    assert probe.read(cd.AIRCR) == 0xFA050000


def test_the_program_may_reset_itself(probe: Probe) -> None:
    probe.core.ends = [Stop.RESET]
    resets = probe.core.resets
    probe.port.poll()
    assert probe.core.resets == resets + 1


def test_the_reset_line_holds_the_core(probe: Probe) -> None:
    probe.write(cd.DEMCR, cd.VC_CORERESET)
    probe.control(cd.C_DEBUGEN)
    probe.port.hold_reset(True)
    probe.core.runs.clear()
    probe.port.poll()
    assert probe.read(cd.DHCSR) & cd.S_RESET_ST
    assert probe.read(cd.DHCSR) & cd.S_RESET_ST
    assert probe.core.runs == []
    probe.port.hold_reset(False)
    assert probe.read(cd.DHCSR) & cd.S_HALT


# Breakpoint unit.


def breakpoints(probe: Probe, *comparators: int) -> set[int]:
    """Where a run stops with these comparators."""
    probe.halt()
    for index, value in enumerate(comparators):
        probe.write(cd.FP_COMP0 + 4 * index, value)
    probe.write(cd.FP_CTRL, 3)
    probe.core.runs.clear()
    probe.control(cd.C_DEBUGEN)
    probe.port.poll()
    return probe.core.runs[0][0]


def test_version_2_reaches_every_address(probe: Probe) -> None:
    value = probe.read(cd.FP_CTRL)
    assert (value >> 28, value >> 4 & 0xF, value >> 8 & 0xF) == (1, 8, 0)
    assert breakpoints(probe, 0x20000003, 0x08000101, 0x100) == {0x20000002, 0x08000100}


def test_version_1_chooses_halfwords_of_code() -> None:
    probe = Probe(CORTEX_M4)
    value = probe.read(cd.FP_CTRL)
    assert (value >> 28, value >> 4 & 0xF, value >> 8 & 0xF) == (0, 6, 2)
    found = breakpoints(probe, 0x40000101, 0x80000201, 0xC0000301, 0x40000400)
    assert found == {0x100, 0x202, 0x300, 0x302}


def test_a_breakpoint_halts(probe: Probe) -> None:
    probe.core.ends = [Stop.LIMIT] * 4 + [Stop.ADDRESS]
    breakpoints(probe, 0x20000001)
    while not probe.read(cd.DHCSR) & cd.S_HALT:
        pass
    assert probe.read(cd.DFSR) & cd.DFSR_BKPT


def test_the_unit_is_enabled_only_with_its_key(probe: Probe) -> None:
    probe.write(cd.FP_CTRL, 1)
    assert not probe.read(cd.FP_CTRL) & 1
    probe.write(cd.FP_CTRL, 3)
    assert probe.read(cd.FP_CTRL) & 1
    probe.write(cd.FP_CTRL, 2)
    assert not probe.read(cd.FP_CTRL) & 1


def test_parts_of_a_register_are_accessible(probe: Probe) -> None:
    probe.write(cd.DCRDR, 0x11223344)
    probe.size(1)
    assert probe.read(cd.DCRDR + 2) >> 16 == 0x22
    probe.write(cd.DCRDR + 3, 0xAA000000)
    probe.size(4)
    assert probe.read(cd.DCRDR) == 0xAA223344
