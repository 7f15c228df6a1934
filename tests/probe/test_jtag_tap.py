"""The virtual scan chain, pin by pin: states, registers, and what scans do to a debug port."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.probe.jtag_tap import BoundaryScan, JtagDp, ScanChain, State
from tests.probe.remote_bitbang import Pins, RemoteBitbang
from tests.probe.virtual_chip import virtual_chip

CPU, BOUNDARY = 0x5BA00477, 0x06449041
BYPASS_BOTH = 0b11111_1111
# TMS, first to last, to where registers are shifted, from Run-Test/Idle.
TO_SHIFT_DR, TO_SHIFT_IR = (1, 0, 0), (1, 1, 0, 0)


class Registers:
    """Notes what is written; reads give the address and where it was."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, int, int]] = []

    def read_dp(self, address: int) -> int:
        return 0xD0000000 + address

    def write_dp(self, address: int, value: int) -> None:
        self.writes.append(("dp", address, value))

    def read_ap(self, address: int) -> int:
        return 0xA0000000 + address

    def write_ap(self, address: int, value: int) -> None:
        self.writes.append(("ap", address, value))


class Probe:
    """Drives a chain in Run-Test/Idle."""

    def __init__(self) -> None:
        self.registers = Registers()
        self.chain = ScanChain((JtagDp(self.registers, CPU), BoundaryScan(BOUNDARY, 5)))
        self.chain.clock(0, 0)

    def scan(self, way: tuple[int, ...], value: int, bits: int, pause_after: int = 0) -> int:
        """Shifts ``value`` in and what was there out; with a pause after so many bits."""
        for tms in way:
            self.chain.clock(tms, 0)
        result = 0
        for index in range(bits):
            result |= (self.chain.register & 1) << index
            last = index == bits - 1
            self.chain.clock(int(last or index + 1 == pause_after), (value >> index) & 1)
            if index + 1 == pause_after and not last:
                for tms in (0, 0, 1, 0):  # pause, wait, go on
                    self.chain.clock(tms, 1)
        for tms in (1, 0):
            self.chain.clock(tms, 0)
        assert self.chain.state == State.IDLE
        return result

    def instruct(self, cpu: int) -> int:
        return self.scan(TO_SHIFT_IR, 0b11111 << 4 | cpu, 9)

    def access(self, address: int, value: int | None) -> tuple[int, int]:
        """A DPACC or APACC scan: the result of the one before and its acknowledgement."""
        request = (value or 0) << 3 | address >> 1 | int(value is None)
        result = self.scan(TO_SHIFT_DR, request, 36)
        return (result & (1 << 35) - 1) >> 3, result & 7


@pytest.fixture
def probe() -> Probe:
    return Probe()


@pytest.mark.parametrize("state", list(State))
def test_five_edges_with_tms_high_reset_from_everywhere(state: State) -> None:
    probe = Probe()
    probe.instruct(0b1010)
    probe.chain.state = state
    for _ in range(5):
        probe.chain.clock(1, 1)
    assert probe.chain.state == State.RESET
    probe.chain.clock(0, 0)
    assert probe.scan(TO_SHIFT_DR, 0, 64) == BOUNDARY << 32 | CPU, "IDCODE is selected"


def test_the_first_tap_is_nearest_to_tdo(probe: Probe) -> None:
    assert probe.scan(TO_SHIFT_DR, 0, 96) == BOUNDARY << 32 | CPU, "zeros follow, from TDI"
    assert probe.scan(TO_SHIFT_IR, BYPASS_BOTH, 9) == 0b00001_0001, "what IEEE 1149.1 asks for"


def test_bypass_is_one_bit_for_each_tap(probe: Probe) -> None:
    probe.scan(TO_SHIFT_IR, BYPASS_BOTH, 9)
    assert probe.scan(TO_SHIFT_DR, 0b1011, 6) == 0b101100


@pytest.mark.parametrize("instruction", [0b0000, 0b0111, 0b1001, 0b1111])
def test_unknown_instructions_are_bypass(probe: Probe, instruction: int) -> None:
    probe.instruct(instruction)
    assert probe.scan(TO_SHIFT_DR, 0b1, 3) == 0b100


@pytest.mark.parametrize("pause_after", [1, 17, 63])
def test_a_pause_loses_nothing(probe: Probe, pause_after: int) -> None:
    assert probe.scan(TO_SHIFT_DR, 0, 64, pause_after) == BOUNDARY << 32 | CPU


def test_a_read_comes_out_with_the_next_scan(probe: Probe) -> None:
    probe.instruct(0b1010)
    assert probe.access(0x4, None)[1] == 0b010
    probe.instruct(0b1011)
    assert probe.access(0xC, None) == (0xD0000004, 0b010)
    probe.instruct(0b1010)
    assert probe.access(0xC, None) == (0xA000000C, 0b010)
    assert probe.access(0x8, None) == (0, 0b010), "RDBUFF itself is zero"
    assert probe.access(0xC, None) == (0xD0000008, 0b010)


def test_writes_reach_their_port(probe: Probe) -> None:
    probe.instruct(0b1010)
    probe.access(0x8, 0x12345678)
    probe.access(0x0, 0xFFFFFFFF)
    probe.instruct(0b1011)
    probe.access(0x0, 0x9ABCDEF0)
    probe.instruct(0b1000)
    probe.access(0x0, 0x00000001)
    written = [("dp", 0x8, 0x12345678), ("ap", 0x0, 0x9ABCDEF0)]
    assert probe.registers.writes == written, "address 0 of the DP is read only, ABORT its own scan"


def pins(probe: Probe) -> Pins:
    port = virtual_chip(jtag=True)
    return Pins(probe.chain, port)


def test_only_rising_edges_count(probe: Probe) -> None:
    wires = pins(probe)
    assert wires.feed(b"260404") == b""
    assert probe.chain.state == State.SHIFT_DR
    bits = b"".join(b"0R44440" for _ in range(32))
    answer = wires.feed(bits)
    assert int(answer[::-1], 2) == CPU, "a clock that stays high is no edge"


def test_what_a_probe_says_may_come_in_any_pieces(probe: Probe) -> None:
    wires = pins(probe)
    requests = b"260404" + b"0R4" * 64
    answers = b"".join(wires.feed(requests[at : at + 1]) for at in range(len(requests)))
    assert int(answers[::-1], 2) == BOUNDARY << 32 | CPU


def test_resets_lights_and_noise(probe: Probe) -> None:
    wires = pins(probe)
    wires.feed(b"2604Bb\x00\xff~")
    assert probe.chain.state == State.CAPTURE_DR
    wires.feed(b"t")
    assert probe.chain.state == State.RESET, "TRST"
    assert not wires.quit
    wires.feed(b"Q")
    assert wires.quit


def test_the_reset_line_holds_the_core(probe: Probe) -> None:
    port = virtual_chip(jtag=True)
    wires = Pins(probe.chain, port)
    dhcsr, reset_status = 0xE000EDF0, 1 << 25
    port.core.read(dhcsr, 4)
    wires.feed(b"s")
    assert port.core.read(dhcsr, 4) & port.core.read(dhcsr, 4) & reset_status, "while it is held"
    wires.feed(b"r")
    assert port.core.read(dhcsr, 4) & reset_status
    assert not port.core.read(dhcsr, 4) & reset_status, "once it was read"


def test_a_failure_of_the_server_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(asserted: bool) -> None:
        raise RuntimeError("a defect")

    port = virtual_chip(jtag=True)
    monkeypatch.setattr(port, "hold_reset", fail)
    server = RemoteBitbang(port, tmp_path)
    client = socket.socket(socket.AF_UNIX)
    with pytest.raises(RuntimeError, match="a defect"), client, server:
        client.connect(str(server.address))
        client.sendall(b"s")
        assert client.recv(1) == b"", "the server has gone"
