"""Sessions over memory access to emulated cores: calls, time, statistics, faults, recovery."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from tests.memory.programs import OPERATORS, build, open_emulator
from utvm.device.memory_access import AccessFaultError
from utvm.device.memory_emulator import EmulatorAccess
from utvm.device.memory_session import MemorySession
from utvm.device.session import (
    DeviceFaultError,
    DeviceTensor,
    DeviceTimeoutError,
    StatusError,
    StreamClosedError,
)
from utvm.support.errors import DeviceError, InputError
from utvm.target.board import load_board
from utvm.target.target import load_target

BOARDS = ["emu_cortex_m0plus", "emu_cortex_m3", "emu_cortex_m4", "emu_cortex_m7", "emu_cortex_m33"]
UINT8, UINT32, FLOAT = (np.dtype(name) for name in ("uint8", "uint32", "float32"))


@dataclass
class Device:
    """A session, its core, and one block of memory that is zero."""

    name: str
    session: MemorySession
    access: EmulatorAccess
    address: int

    def tensor(self, shape: tuple[int, ...], dtype: np.dtype) -> DeviceTensor:
        return DeviceTensor(self.address, shape, dtype)

    def call(self, name: str, *tensors: DeviceTensor) -> None:
        self.session.call(self.session.function(name), tensors)

    def count(self) -> tuple[int, ...]:
        """Calls of the operator that counts itself, by two variables of the program."""
        self.call("count", self.tensor((2,), UINT32))
        return tuple(np.frombuffer(self.session.read(self.address, 8), UINT32).tolist())


@pytest.fixture(scope="module", params=BOARDS)
def images(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, build(request.param, folder, [OPERATORS], keep=("test_functions",))


@pytest.fixture
def device(images) -> Iterator[Device]:
    name, image = images
    session, access = open_emulator(name, image)
    with session:
        address = session.allocate(64)
        session.write(address, bytes(64))
        yield Device(name, session, access, address)


def test_calls_are_queued_and_run_in_order(device: Device) -> None:
    four = device.tensor((4,), UINT8)
    for _ in range(300):  # more than the area for tasks holds at once
        device.call("increment", four)
    assert device.session.statistics().calls == 300
    assert device.session.read(device.address, 5) == bytes([300 & 255] * 4 + [0])
    assert device.session.statistics().frames < 30
    assert device.count() == (5, 0), "variables begin with their values"
    assert device.count() == (6, 1)


def test_floats_work_from_the_first_call_on(device: Device) -> None:
    device.session.write(device.address, np.array([4, 0], FLOAT).tobytes())
    device.call("divide", device.tensor((2,), FLOAT))
    result = np.frombuffer(device.session.read(device.address, 8), FLOAT)
    np.testing.assert_array_equal(result, np.array([4, 0.25], FLOAT))


def test_time_is_in_modelled_cycles(device: Device) -> None:
    function, tensor = device.session.function("spin"), device.tensor((1,), UINT32)
    cycles = []
    for left in (1000, 2000):
        device.session.write(device.address, left.to_bytes(4, "little"))
        device.session.time(function, [tensor])  # teaches the branch predictor, where there is one
        timing = device.session.time(function, [tensor], repeat=3, number=2)
        assert (timing.number, len(timing.cycles)) == (2, 3)
        assert timing.cycles_per_second == 25_000_000
        cycles.append(timing.cycles_per_call)
        assert len(set(timing.cycles)) == 1, "nothing but the program has an influence"
    per_round = (cycles[1] - cycles[0]) / 1000  # it loads, tests, decrements and stores
    assert 3 <= per_round <= 12
    assert 0 <= cycles[0] - 1000 * per_round < 100, "what is around the loop"
    statistics = device.session.function_statistics(function)
    assert statistics.calls == 2 * (1 + 6)
    assert statistics.cycles > 6 * sum(cycles) - 1


def test_time_makes_more_calls_until_they_take_long_enough(device: Device) -> None:
    function, tensor = device.session.function("spin"), device.tensor((1,), UINT32)
    device.session.write(device.address, (1000).to_bytes(4, "little"))
    timing = device.session.time(function, [tensor], repeat=2, min_repeat_ms=2)
    assert timing.number in (4, 8, 16)
    assert all(cycles >= 50_000 for cycles in timing.cycles)
    assert device.session.time(function, [tensor], number=3, min_repeat_ms=0).number == 3


@pytest.mark.parametrize("arguments", [{"repeat": 0}, {"number": 0}, {"number": 1 << 31}])
def test_numbers_of_calls_are_checked(device: Device, arguments: dict[str, int]) -> None:
    with pytest.raises(InputError, match="a number of calls is out of range"):
        device.session.time(device.session.function("spin"), [], **arguments)


def test_a_failed_operator_ends_the_queue(device: Device) -> None:
    four = device.tensor((4,), UINT8)
    device.call("increment", four)
    device.call("refuse")
    device.call("increment", four)
    with pytest.raises(StatusError, match=r"call of refuse: .* found TVM_ERROR_WORKSPACE") as error:
        device.session.flush()
    assert error.value.status == -3
    assert device.session.read(device.address, 4) == bytes([1] * 4)
    line = "TVM_ERROR_WORKSPACE: refuse\n"
    assert device.session.logs() == line + line, "the operator's own, and that it failed"
    assert device.session.logs() == ""
    for _ in range(20):
        device.call("refuse")
        with pytest.raises(StatusError):
            device.session.flush()
    assert device.session.logs() == 40 * line


def test_a_damaged_argument_is_refused(device: Device) -> None:
    device.call("increment", device.tensor((3,), UINT8))
    with pytest.raises(StatusError, match="found TVM_ERROR_TENSOR"):
        device.session.flush()
    device.call("increment")
    with pytest.raises(StatusError, match="found TVM_ERROR_ARGUMENT_COUNT"):
        device.session.flush()


def test_the_workspace_is_what_is_left_of_memory(device: Device) -> None:
    device.call("spend")
    assert device.session.statistics().workspace_peak_bytes == 1024
    holes = dict(device.session._memory.holes())
    taken = [device.session.allocate(size) for size in holes.values()]
    device.call("spend")
    with pytest.raises(StatusError, match="found TVM_ERROR_"):
        device.session.flush()
    for address in taken:
        device.session.free(address)
    device.call("spend")
    device.session.flush()


def test_stack_and_calls_are_counted_by_function(device: Device) -> None:
    session = device.session
    device.call("spend")
    device.call("increment", device.tensor((4,), UINT8))
    spent, small = (
        session.function_statistics(session.function(n)) for n in ("spend", "increment")
    )
    assert (spent.calls, small.calls) == (1, 1)
    assert 0 < small.stack_peak_bytes < spent.stack_peak_bytes, "each has a mark of its own"
    assert (spent.workspace_peak_bytes, small.workspace_peak_bytes) == (1024, 0)
    every = session.statistics()
    assert every.stack_peak_bytes == spent.stack_peak_bytes
    assert every.stack_bytes == load_board(device.name).stack_bytes
    assert every.memory_peak_bytes == 64


FAULTS = {
    "crash": ("bus fault", r"pc 0x[0-9a-f]{8} \(crash(\+0x[0-9a-f]+)?\), precise .* 0xe1000000"),
    "jump": ("bus fault", r"pc 0x40000000, instruction bus error"),
    "undefined": ("usage fault", r"\(undefined(\+0x[0-9a-f]+)?\), undefined instruction"),
    "overflow": ("stack overflow", r"stack overflow, stack pointer 0x"),
    "breakpoint": ("lost", r"\(breakpoint(\+0x[0-9a-f]+)?\), the core has halted at a breakpoint"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_the_session_goes_on(device: Device, name: str) -> None:
    device.session.write(device.address + 32, b"kept")
    device.count()
    kind, pattern = FAULTS[name]
    if device.name == "emu_cortex_m0plus" and "fault" in kind:
        kind, pattern = "hard fault", r"hard fault at pc 0x"  # it has no registers that say why
    device.call("increment", device.tensor((4,), UINT8))
    device.call(name)
    device.call("increment", device.tensor((4,), UINT8))
    with pytest.raises(DeviceFaultError, match=pattern) as error:
        device.session.flush()
    assert error.value.where == f"call of {name}"
    fault = device.session.fault()
    assert fault == error.value.fault
    assert (fault.name, fault.kind) == (name, kind)
    assert fault.function == device.session.function(name).index
    assert device.session.read(device.address, 4) == bytes([6, 1, 1, 1]), "the first call was made"
    assert device.count() == (5, 0), "the program is a new one"
    assert device.session.read(device.address + 32, 4) == b"kept"
    assert device.session.fault() == fault
    device.session.reset()
    assert device.session.fault() is None


def test_code_that_was_overwritten_is_there_again(device: Device) -> None:
    device.call("spoil")
    with pytest.raises(DeviceFaultError, match="call of spoil"):
        device.session.flush()
    assert device.count() == (5, 0)


def test_an_operator_that_hangs_ends_at_the_deadline(device: Device) -> None:
    device.session.timeout_seconds = 0.2
    device.call("hang")
    with pytest.raises(DeviceFaultError, match=r"call of hang: .* watchdog at pc .* \(hang\+"):
        device.session.flush()
    assert device.session.fault().kind == "watchdog"
    device.session.timeout_seconds = 60
    assert device.count() == (5, 0)


def test_a_reset_begins_anew(device: Device) -> None:
    device.count()
    device.session.reset()
    statistics = device.session.statistics()
    assert (statistics.calls, statistics.memory_peak_bytes) == (0, 0)
    with pytest.raises(StatusError, match="TVM_ERROR_RPC_ADDRESS"):
        device.session.read(device.address, 4)
    device.address = device.session.allocate(8)
    assert device.count() == (5, 0)


def test_what_is_not_there_is_refused(device: Device) -> None:
    session = device.session
    with pytest.raises(StatusError, match=r"lookup of nothing: .* TVM_ERROR_FUNCTION"):
        session.function("nothing")
    with pytest.raises(StatusError, match="TVM_ERROR_RPC_ADDRESS"):
        session.write(device.address + 60, bytes(5))
    with pytest.raises(StatusError, match="TVM_ERROR_RPC_ADDRESS"):
        device.call("increment", DeviceTensor(device.address + 64, (4,), UINT8))
    with pytest.raises(StatusError, match=r"at most .* found TVM_ERROR_MEMORY"):
        session.allocate(1 << 30)
    with pytest.raises(StatusError, match="TVM_ERROR_ARGUMENT"):
        session.free(device.address + 8)
    with pytest.raises(InputError, match="a size is negative"):
        session.allocate(-1)
    with pytest.raises(InputError, match="the arguments of the call do not fit"):
        device.call("increment", *[device.tensor((1,) * 8, UINT8)] * 100)


def test_the_access_alone(images) -> None:
    board = load_board(images[0])
    access = EmulatorAccess(load_target(board.target), board)
    with pytest.raises(AccessFaultError, match="are not RAM"):
        access.write(board.memory("flash").origin, b"1")
    for method in (lambda: access.read(0x70000000, 4), lambda: access.write(0x70000000, b"1")):
        with pytest.raises(AccessFaultError, match="lie in no memory of the board"):
            method()
    ram = board.memory("ram").origin
    access.write(ram, bytes.fromhex("fee7"))  # b .
    access.set_register("pc", ram)
    access.run(ram, time.monotonic())
    with pytest.raises(DeviceTimeoutError, match="did not get where it was to stop"):
        access.run(ram + 8, time.monotonic())
    access.write(ram, bytes.fromhex("00de"))  # udf #0, and no vectors
    with pytest.raises(AccessFaultError, match=r"locked up; found pc 0x.*undefined instruction"):
        access.run(ram + 8, time.monotonic() + 60)
    access.close()
    access.close()
    for use in (access.reset, lambda: access.register("pc"), lambda: access.run(ram, 0)):
        with pytest.raises(StreamClosedError, match="is closed"):
            use()


def test_ram_that_keeps_nothing_is_found_out(images, monkeypatch: pytest.MonkeyPatch) -> None:
    name, image = images
    monkeypatch.setattr(EmulatorAccess, "write", lambda self, address, data: None)
    with pytest.raises(DeviceError, match="does not keep what is written"):
        open_emulator(name, image)


def test_a_call_may_take_longer_than_systick_counts(device: Device) -> None:
    """2^24 cycles and more; on cores without another counter its exception counts on."""
    function, tensor = device.session.function("spin"), device.tensor((1,), UINT32)
    cycles = []
    for left in (100_000, 4_000_000):
        device.session.write(device.address, left.to_bytes(4, "little"))
        cycles.append(device.session.time(function, [tensor]).cycles[0])
    if device.name == "emu_cortex_m0plus":
        assert cycles[1] > 1 << 25
    assert cycles[1] / cycles[0] == pytest.approx(40, rel=0.001)
