"""A session with the native server under sanitizers: every command, and every way to fail."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PATIENCE_SECONDS
from tests.rpc.conftest import Connect
from utvm.device.rpc_client import RpcSession
from utvm.device.session import (
    DeviceRestartedError,
    DeviceTensor,
    DeviceTimeoutError,
    Function,
    StatusError,
    StreamClosedError,
)
from utvm.device.stream_process import ProcessStream
from utvm.support.errors import DeviceError, InputError

INT8 = np.dtype(np.int8)


def tensor(session: RpcSession, content: bytes = bytes(4)) -> DeviceTensor:
    address = session.allocate(len(content))
    session.write(address, content)
    return DeviceTensor(address, (len(content),), INT8)


def test_memory_keeps_what_is_written(session: RpcSession) -> None:
    data = bytes(range(256)) * 5
    address = session.allocate(len(data))
    session.write(address, data)
    assert session.read(address, len(data)) == data
    assert session.read(address + 1000, 3) == data[1000:1003]
    assert session.read(address, 0) == b""


def test_calls_are_queued_and_run_in_order(session: RpcSession) -> None:
    cell = tensor(session)
    increment = session.function("increment")
    session.flush()
    before = session.statistics().frames
    for _ in range(5):
        session.call(increment, [cell])
    assert session.read(cell.address, 4) == bytes((5, 5, 5, 5))
    assert session.statistics().frames == before + 2, "one frame for the calls, one for statistics"


def test_more_than_a_frame_is_queued(session: RpcSession) -> None:
    cell = tensor(session)
    increment = session.function("increment")
    for _ in range(100):
        session.call(increment, [cell])
    assert session.read(cell.address, 4) == bytes((100,) * 4)


def test_timing_takes_one_round_trip(session: RpcSession) -> None:
    cell = tensor(session)
    increment = session.function("increment")
    before = session.statistics()
    timing = session.time(increment, [cell], repeat=3, number=7)
    after = session.statistics()
    assert (timing.number, len(timing.cycles)) == (7, 3)
    assert after.frames == before.frames + 2
    assert after.calls == before.calls + 21
    assert session.function_statistics(increment).calls == 21
    assert session.read(cell.address, 1) == bytes((21,))


def test_timing_repeats_until_it_takes_long_enough(session: RpcSession) -> None:
    cell = tensor(session)
    increment = session.function("increment")
    timing = session.time(increment, [cell], number=1, min_repeat_ms=2)
    for _ in range(1000):  # on a machine that is busy one call may take as long
        if timing.number > 1:
            break
        timing = session.time(increment, [cell], number=1, min_repeat_ms=2)
    assert timing.number > 1
    assert timing.cycles[0] >= 2 * timing.cycles_per_second // 1000
    assert timing.cycles_per_call == timing.cycles[0] / timing.number


def test_a_failure_ends_the_queue_and_is_named(session: RpcSession) -> None:
    cell = tensor(session)
    increment, refuse = session.function("increment"), session.function("refuse")
    session.call(increment, [cell])
    session.call(refuse, [])
    session.call(increment, [cell])
    with pytest.raises(StatusError, match=r"call of refuse: .*; found TVM_ERROR_WORKSPACE") as info:
        session.flush()
    assert info.value.status == -3
    assert session.read(cell.address, 1) == b"\x01"
    assert session.logs() == "TVM_ERROR_WORKSPACE: refuse\n"
    assert session.logs() == ""


def test_a_full_log_counts_what_it_lost(session: RpcSession) -> None:
    refuse = session.function("refuse")
    for _ in range(5):
        session.call(refuse, [])
        with pytest.raises(StatusError):
            session.flush()
    assert session.logs() == 3 * "TVM_ERROR_WORKSPACE: refuse\n" + "(2 lines lost)\n"


def test_exhausted_workspace_is_named(session: RpcSession) -> None:
    session.call(session.function("exhaust"), [])
    with pytest.raises(StatusError, match=r"call of exhaust: .*TVM_ERROR_WORKSPACE"):
        session.flush()


def test_foreign_memory_is_refused(session: RpcSession) -> None:
    cell = tensor(session)
    increment = session.function("increment")
    size = 4
    for address, count in [
        (0, 1),
        (cell.address - 1, 1),
        (cell.address, size + 1),
        (cell.address + size, 1),
        (cell.address - 8, 8),
        (2**64 - 1, 4),
    ]:
        with pytest.raises(StatusError, match="TVM_ERROR_RPC_ADDRESS"):
            session.read(address, count)
        session.write(address, bytes(count))
        with pytest.raises(StatusError, match="TVM_ERROR_RPC_ADDRESS"):
            session.flush()
        session.call(increment, [DeviceTensor(address, (count,), INT8)])
        with pytest.raises(StatusError, match="TVM_ERROR_RPC_ADDRESS"):
            session.flush()
    assert session.read(cell.address, 4) == bytes(4)


def test_freed_memory_is_refused(session: RpcSession) -> None:
    cell = tensor(session)
    session.free(cell.address)
    with pytest.raises(StatusError, match="TVM_ERROR_RPC_ADDRESS"):
        session.read(cell.address, 1)
    session.free(cell.address)
    with pytest.raises(StatusError, match=r"free\(0x.*TVM_ERROR_RPC_ADDRESS"):
        session.flush()


@pytest.mark.parametrize(
    ("shape", "dtype", "status"),
    [
        ((3,), np.int8, "TVM_ERROR_TENSOR"),
        ((), np.int8, "TVM_ERROR_TENSOR"),
        ((2**31,), np.int8, "TVM_ERROR_TENSOR"),
        ((2**16, 2**16), np.int8, "TVM_ERROR_TENSOR"),
        ((8,), np.int8, "TVM_ERROR_RPC_ADDRESS"),
    ],
)
def test_tensors_are_checked(
    session: RpcSession, shape: tuple[int, ...], dtype: type, status: str
) -> None:
    cell = tensor(session)
    session.call(
        session.function("increment"), [DeviceTensor(cell.address, shape, np.dtype(dtype))]
    )
    with pytest.raises(StatusError, match=status):
        session.flush()


def test_misaligned_tensors_are_refused(session: RpcSession) -> None:
    cell = tensor(session, bytes(8))
    wrong = DeviceTensor(cell.address + 2, (1,), np.dtype(np.int32))
    session.call(session.function("increment"), [wrong])
    with pytest.raises(StatusError, match="TVM_ERROR_RPC_ADDRESS"):
        session.flush()


def test_wrong_number_of_arguments(session: RpcSession) -> None:
    cell = tensor(session)
    increment = session.function("increment")
    for count in (0, 2):
        session.call(increment, [cell] * count)
        with pytest.raises(StatusError, match="TVM_ERROR_ARGUMENT_COUNT"):
            session.flush()


def test_unknown_functions_are_refused(session: RpcSession) -> None:
    for name in ("", "incremen", "increment2", "x" * 200):
        with pytest.raises(StatusError, match=r"lookup of .*TVM_ERROR_FUNCTION"):
            session.function(name)
    session.call(Function("made up", 99), [])
    with pytest.raises(StatusError, match=r"call of made up: .*TVM_ERROR_FUNCTION"):
        session.flush()


def test_memory_and_blocks_run_out(session: RpcSession) -> None:
    with pytest.raises(StatusError, match=r"allocate\(100000\): .*TVM_ERROR_MEMORY"):
        session.allocate(100_000)
    addresses = [session.allocate(8) for _ in range(session.welcome.blocks)]
    with pytest.raises(StatusError, match="TVM_ERROR_RPC_BLOCKS"):
        session.allocate(8)
    for address in addresses:
        session.free(address)
    session.allocate(4000)


def test_what_fits_no_frame_is_refused_here(session: RpcSession) -> None:
    cell = tensor(session)
    with pytest.raises(InputError, match="does not fit in a frame"):
        session.time(session.function("increment"), [cell], repeat=1000)


def test_a_reset_gives_a_new_session(session: RpcSession) -> None:
    cell = tensor(session)
    session.call(session.function("increment"), [cell])
    session.reset()
    assert session.statistics().calls == 0
    with pytest.raises(StatusError, match="TVM_ERROR_RPC_ADDRESS"):
        session.read(cell.address, 1)
    assert session.read(tensor(session, b"anew").address, 4) == b"anew"


def test_a_second_host_ends_the_first_session(connect: Connect) -> None:
    stream = connect()
    first = RpcSession(stream, timeout_seconds=PATIENCE_SECONDS)
    second = RpcSession(stream, timeout_seconds=PATIENCE_SECONDS)
    second.function("increment")
    with pytest.raises(DeviceRestartedError, match="a new session is open"):
        first.function("increment")
    first.function("increment")
    first.close()


def test_a_new_session_frees_the_memory_of_the_last(connect: Connect) -> None:
    stream = connect()
    for _ in range(20):
        session = RpcSession(stream, timeout_seconds=PATIENCE_SECONDS)
        for _ in range(session.welcome.blocks):
            session.allocate(900)
    session.close()


def test_a_killed_server_is_named(connect: Connect) -> None:
    stream = connect()
    with RpcSession(stream, timeout_seconds=PATIENCE_SECONDS) as session:
        os.kill(stream.pid, signal.SIGKILL)
        with pytest.raises(StreamClosedError, match=r"server_sanitized: .*found signal SIGKILL"):
            session.function("increment")
        with pytest.raises(StreamClosedError):
            session.reopen()


def test_a_crashing_operator_is_named(connect: Connect) -> None:
    with RpcSession(connect(), timeout_seconds=PATIENCE_SECONDS) as session:
        session.call(session.function("crash"), [])
        with pytest.raises(StreamClosedError, match="the program has ended"):
            session.flush()


def test_a_hanging_operator_ends_with_the_deadline(connect: Connect) -> None:
    stream = connect()
    with RpcSession(stream, timeout_seconds=PATIENCE_SECONDS) as session:
        session.call(session.function("hang"), [])
        session.timeout_seconds = 0.5
        with pytest.raises(DeviceTimeoutError, match="did not answer in time"):
            session.flush()
        with pytest.raises(DeviceTimeoutError, match="does not answer"):
            session.reopen()
    with pytest.raises(ProcessLookupError):
        os.kill(stream.pid, 0)


def test_a_program_that_is_no_server() -> None:
    chatter = [sys.executable, "-c", "while True: print('~}' * 1000)"]
    with pytest.raises(DeviceTimeoutError, match=r"does not answer.*damaged frames"):
        RpcSession(ProcessStream(chatter), timeout_seconds=0.5)
    silent = [sys.executable, "-c", "import sys; sys.stderr.write('no luck\\n'); sys.exit(3)"]
    with pytest.raises(StreamClosedError, match="found status 3, no luck"):
        RpcSession(ProcessStream(silent), timeout_seconds=PATIENCE_SECONDS)


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="nothing: the program cannot be started"):
        ProcessStream([str(tmp_path / "nothing")])
