"""pyOCD's sessions with the virtual chip, through pyOCD's own protocol for remote probes.

What goes wrong is tried on a core made of a dictionary; programs run on the emulated one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_SECONDS, REPOSITORY
from tests.probe.core_debug import CoreDebug, Stop
from tests.probe.core_profile import STM32F746
from tests.probe.debug_port import DebugPort
from tests.probe.pyocd_server import PyOcdServer
from tests.probe.test_debug_port import RAM, FakeCore
from tests.probe.test_virtual_chip import BFAR, SUM, SUM_END, SUM_LOOP, VTOR
from tests.probe.virtual_chip import DTCM, FLASH, IDLE, SRAM, virtual_chip
from utvm.device import memory_pyocd
from utvm.device.memory_access import AccessFaultError, MemoryAccess
from utvm.device.memory_pyocd import PyOcdAccess
from utvm.device.session import DeviceTimeoutError, StreamClosedError
from utvm.support.errors import DeviceError, InputError, ToolchainError, UtvmError
from utvm.target.board import list_boards, load_board

STOP = RAM + 0x10
BRIEF_SECONDS = 0.2  # a deadline that is meant to be missed
BKPT = 0xBE00


class ProgramCore(FakeCore):
    """A core whose program takes a few slices and ends somewhere, in some way."""

    def __init__(self) -> None:
        super().__init__()
        self.ends_at = STOP
        self.write(STOP, BKPT.to_bytes(2, "little"))

    def run(self, stops: Collection[int], instruction_limit: int) -> Stop:
        stop = super().run(stops, instruction_limit)
        if stop != Stop.LIMIT:
            self.registers["pc"] = self.ends_at
        return stop


@pytest.fixture
def core() -> ProgramCore:
    return ProgramCore()


@pytest.fixture
def server(core: ProgramCore) -> Iterator[PyOcdServer]:
    server = PyOcdServer(DebugPort(CoreDebug(core, STM32F746)))
    yield server
    server.close()


@pytest.fixture
def access(server: PyOcdServer) -> Iterator[PyOcdAccess]:
    access = PyOcdAccess(
        probe=server.probe, timeout_seconds=PATIENCE_SECONDS, connect_seconds=PATIENCE_SECONDS
    )
    yield access
    access.close()


def soon() -> float:
    return time.monotonic() + PATIENCE_SECONDS


def test_it_offers_what_every_transport_does(access: PyOcdAccess, server: PyOcdServer) -> None:
    checked: MemoryAccess = access
    assert checked.name == f"pyOCD ({server.probe})"


def test_memory_and_registers(access: PyOcdAccess, core: ProgramCore) -> None:
    assert access.read(0xE000ED00, 4) == bytes.fromhex("71c20f41")
    data = bytes(range(256)) * 15
    access.write(RAM + 3, data)
    assert access.read(RAM + 3, len(data)) == data
    assert bytes(core.memory[3 : 3 + len(data)]) == data
    assert access.read(RAM, 0) == b""
    access.write(RAM, b"")
    for number, name in enumerate((*(f"r{number}" for number in range(13)), "sp", "lr", "pc")):
        access.set_register(name, 100 + number)
    assert core.registers["r12"] == 112
    assert [access.register(name) for name in ("r0", "sp", "lr", "pc")] == [100, 113, 114, 115]


def test_large_blocks_go_in_parts(access: PyOcdAccess, core: ProgramCore) -> None:
    data = os.urandom(50_001)
    access.write(RAM + 1, data)
    assert core.read(RAM + 1, len(data)) == data
    assert access.read(RAM + 1, len(data)) == data


def test_a_program_runs_to_its_stop(access: PyOcdAccess, core: ProgramCore) -> None:
    core.ends = [Stop.LIMIT] * 30 + [Stop.BKPT]
    access.set_register("pc", RAM)
    access.run(STOP, soon())
    assert access.register("pc") == STOP
    assert core.register("xpsr") & 1 << 24  # Thumb state
    runs = len(core.runs)
    access.run(STOP, soon())  # it is there already
    assert len(core.runs) == runs


def test_a_breakpoint_is_set_for_another_instruction(
    access: PyOcdAccess, core: ProgramCore
) -> None:
    core.ends_at = RAM + 0x20
    core.ends = [Stop.LIMIT, Stop.ADDRESS]
    access.set_register("pc", RAM)
    access.run(RAM + 0x20, soon())
    assert core.runs[-1][0] == {RAM + 0x20}
    core.ends = [Stop.BKPT]
    core.ends_at = STOP
    access.run(STOP, soon())
    assert core.runs[-1][0] == set()


def test_a_bus_fault_has_a_name(access: PyOcdAccess) -> None:
    with pytest.raises(AccessFaultError, match=r"the access failed.*0x60000000"):
        access.read(0x60000000, 4)
    with pytest.raises(AccessFaultError, match=r"the access failed.*0x60000000"):
        access.write(0x60000000, b"1234")
    access.write(RAM, b"1234")  # the next one works
    assert access.read(RAM, 4) == b"1234"


def test_a_register_that_is_not_there(access: PyOcdAccess) -> None:
    with pytest.raises(DeviceError, match=r"pyOCD refuses.*unknown core register name r77"):
        access.register("r77")


def test_a_program_that_does_not_end_is_halted(access: PyOcdAccess, core: ProgramCore) -> None:
    access.set_register("pc", RAM)
    with pytest.raises(DeviceTimeoutError, match=r"did not stop in time.*halted at 0x20000000"):
        access.run(STOP, time.monotonic() + BRIEF_SECONDS)
    assert access.register("pc") == RAM
    core.ends = [Stop.BKPT]
    access.run(STOP, soon())  # the access goes on


def test_a_program_that_stops_elsewhere(access: PyOcdAccess, core: ProgramCore) -> None:
    core.ends, core.ends_at = [Stop.BKPT], RAM + 0x40
    with pytest.raises(
        AccessFaultError, match=r"the core has stopped elsewhere; found pc 0x20000040"
    ):
        access.run(STOP, soon())
    core.ends, core.ends_at = [Stop.FAULT], RAM + 0x44
    with pytest.raises(AccessFaultError, match=r"the core has locked up"):
        access.run(STOP, soon())
    assert access.register("pc") == RAM + 0x44  # halted again


def test_reset_halts_at_the_first_instruction(access: PyOcdAccess, core: ProgramCore) -> None:
    access.set_register("pc", RAM)
    resets = core.resets
    access.reset()
    assert core.resets == resets + 1
    assert access.register("pc") == 0x08000000
    core.ends = [Stop.BKPT]
    access.run(STOP, soon())


# What cuts the connection. pyOCD itself waits for ever then.


def test_a_dropped_connection_has_a_name(server: PyOcdServer) -> None:
    access = PyOcdAccess(probe=server.probe, timeout_seconds=2, connect_seconds=PATIENCE_SECONDS)
    server.drop()
    with pytest.raises(DeviceError) as caught:
        access.read(RAM, 4)
    assert isinstance(caught.value, DeviceTimeoutError | StreamClosedError)
    assert gone(access.pid)
    with pytest.raises(StreamClosedError, match=r"the connection to the probe is closed"):
        access.read(RAM, 4)
    access.close()


def test_a_killed_worker_has_a_name(access: PyOcdAccess) -> None:
    os.kill(access.pid, signal.SIGKILL)
    with pytest.raises(StreamClosedError, match=r"pyOCD has ended.*signal SIGKILL"):
        access.read(RAM, 4)


def test_closing_ends_the_worker(access: PyOcdAccess) -> None:
    assert not gone(access.pid)
    access.close()
    access.close()
    assert gone(access.pid)


def test_an_interrupt_ends_the_worker(access: PyOcdAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(access, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        access.read(RAM, 4)
    assert gone(access.pid)


def test_our_death_ends_the_worker(server: PyOcdServer) -> None:
    program = f"""
import time
from utvm.device.memory_pyocd import PyOcdAccess
access = PyOcdAccess(probe={server.probe!r}, connect_seconds={PATIENCE_SECONDS})
print(access.pid, flush=True)
time.sleep(1000)
"""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        assert not gone(worker)
        process.kill()
    end = soon()
    while not gone(worker):
        assert time.monotonic() < end
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether the process has ended; its status may still wait to be asked for."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return shown.stdout.strip()[:1] in ("", "Z")


# What cannot be opened.


def test_without_a_server(server: PyOcdServer) -> None:
    probe = server.probe
    server.close()
    with pytest.raises(StreamClosedError, match=r"connection to the debug probe is lost.*refused"):
        PyOcdAccess(probe=probe)


def test_without_a_probe() -> None:
    with pytest.raises(DeviceError, match=r"no debug probe is connected; hint: plug") as caught:
        PyOcdAccess(probe="0000-not-a-probe", name="nucleo_f746zg")
    assert caught.value.where == "nucleo_f746zg"


def test_an_unknown_target(server: PyOcdServer) -> None:
    with pytest.raises(DeviceError, match=r"pyOCD refuses.*Target type nosuch not recognized"):
        PyOcdAccess("nosuch", probe=server.probe)


def test_a_port_without_a_core(server: PyOcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server._port, "read_ap", lambda address: 0)
    with pytest.raises(DeviceError, match="pyOCD refuses"):
        PyOcdAccess(probe=server.probe)


def with_worker(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    program: str,
    seconds: float = PATIENCE_SECONDS,
) -> PyOcdAccess:
    """An access whose worker is another program."""
    worker = folder / "worker.py"
    worker.write_text(f"import sys\nsys.stdin.readline()\n{program}\n")
    monkeypatch.setattr(memory_pyocd, "_WORKER", worker)
    return PyOcdAccess(probe="any", connect_seconds=seconds)


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ({"error": "several", "text": "0671FF, 066EFF"}, InputError, r"several.*0671FF, 066EFF"),
        ({"error": "missing", "text": "pyocd"}, ToolchainError, r"not installed.*pip install"),
        ({"error": "none", "text": ""}, DeviceError, r"no debug probe is connected"),
        ({"error": "lost", "text": "\x1b[31m"}, StreamClosedError, r"is lost; found _\[31m;"),
    ],
)
def test_what_the_worker_may_say(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answer: dict[str, str],
    kind: type[UtvmError],
    text: str,
) -> None:
    with pytest.raises(kind, match=text):
        with_worker(monkeypatch, tmp_path, f"print({json.dumps(answer)!r}, flush=True)")


def test_a_worker_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(StreamClosedError, match=r"status 1, ZeroDivisionError: division by zero"):
        with_worker(monkeypatch, tmp_path, "1 / 0")


def test_a_worker_that_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(DeviceTimeoutError, match=r"the debug probe does not answer"):
        with_worker(monkeypatch, tmp_path, "sys.stdin.read()", seconds=1)


def test_boards_name_targets_that_need_no_download() -> None:
    program = "from pyocd.target import TARGET; print(*TARGET)"
    known = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    named = {board.debug.pyocd for board in map(load_board, list_boards())} - {""}
    assert named
    assert named <= set(known)


# The virtual chip: real code on the emulated core.


@pytest.fixture
def chip() -> Iterator[PyOcdAccess]:
    server = PyOcdServer(virtual_chip())
    access = PyOcdAccess(
        probe=server.probe, timeout_seconds=PATIENCE_SECONDS, connect_seconds=PATIENCE_SECONDS
    )
    yield access
    access.close()
    server.close()


def test_a_program_in_the_chip(chip: PyOcdAccess) -> None:
    chip.write(SRAM, SUM)
    chip.set_register("pc", SRAM)
    chip.run(SRAM + SUM_LOOP, soon())  # a breakpoint of the chip
    assert (chip.register("pc"), chip.register("r1")) == (SRAM + SUM_LOOP, 10)
    chip.run(SRAM + SUM_END, soon())  # its bkpt
    assert chip.register("r0") == 55


def test_programs_replace_each_other(chip: PyOcdAccess) -> None:
    for count in range(1, 20):
        chip.write(SRAM, SUM[:2] + bytes((count, 0x21)) + SUM[4:])
        chip.set_register("pc", SRAM)
        chip.run(SRAM + SUM_END, soon())
        assert chip.register("r0") == count * (count + 1) // 2


def test_a_loop_in_the_chip_is_halted(chip: PyOcdAccess) -> None:
    chip.write(SRAM, b"\xfe\xe7\x00\xbe")  # b .
    chip.set_register("pc", SRAM)
    with pytest.raises(DeviceTimeoutError, match=r"halted at 0x20010000"):
        chip.run(SRAM + 2, time.monotonic() + BRIEF_SECONDS)
    chip.set_register("pc", SRAM + 2)
    chip.run(SRAM + 2, soon())


def test_a_fault_in_the_chip_and_a_reset(chip: PyOcdAccess) -> None:
    chip.write(SRAM, b"\x00\x68\x00\xbe")  # ldr r0, [r0]
    chip.write(DTCM + 12, (SRAM + 2 | 1).to_bytes(4, "little"))
    chip.write(VTOR, DTCM.to_bytes(4, "little"))
    chip.set_register("r0", 0x60000000)
    chip.set_register("pc", SRAM)
    chip.run(SRAM + 2, soon())  # the bkpt is the handler of the fault
    assert chip.register("xpsr") & 0x1FF == 3
    assert chip.read(BFAR, 4) == bytes.fromhex("00000060")
    chip.reset()
    assert chip.register("xpsr") & 0x1FF == 0
    assert chip.register("pc") == FLASH + len(IDLE) - 2
    assert chip.read(SRAM, 4) == b"\x00\x68\x00\xbe"
