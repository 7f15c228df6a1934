"""The server on QEMU boards, over their UART: the same session, and faults behind a restart."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.rpc.programs import build_server
from utvm.device.rpc_client import RpcSession
from utvm.device.rpc_program import connect
from utvm.device.session import (
    DeviceRestartedError,
    DeviceTensor,
    DeviceTimeoutError,
    StatusError,
    StreamClosedError,
)
from utvm.device.stream_process import ProcessStream
from utvm.target.board import load_board

BOARDS = ["mps2_an385", "mps2_an386", "mps2_an500"]
UINT8 = np.dtype(np.uint8)


@pytest.fixture(scope="module", params=BOARDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    return build_server(request.param, tmp_path_factory.mktemp("server"))


@pytest.fixture
def stream(server: Path) -> Iterator[ProcessStream]:
    stream = connect(server, load_board(server.stem.removeprefix("server_")))
    yield stream
    stream.close()


@pytest.fixture
def session(stream: ProcessStream) -> RpcSession:
    return RpcSession(stream, timeout_seconds=30)


def test_memory_calls_and_time(session: RpcSession) -> None:
    data = bytes(range(256)) * 4
    address = session.allocate(len(data))
    session.write(address, data)
    cell = DeviceTensor(address, (4,), UINT8)
    increment = session.function("increment")
    session.call(increment, [cell])
    assert session.read(address, len(data)) == bytes((1, 2, 3, 4)) + data[4:]
    timing = session.time(increment, [cell], repeat=2, number=10)
    assert timing.cycles_per_second == 25_000_000
    assert len(timing.cycles) == 2
    assert session.statistics().calls == 21
    assert session.function_statistics(increment).calls == 21
    session.call(session.function("refuse"), [])
    with pytest.raises(StatusError, match="TVM_ERROR_WORKSPACE"):
        session.flush()
    assert session.logs() == "TVM_ERROR_WORKSPACE: refuse\n"


def test_a_reset_gives_a_new_session(session: RpcSession) -> None:
    session.call(session.function("increment"), [DeviceTensor(session.allocate(4), (4,), UINT8)])
    session.flush()
    session.reset()
    assert session.statistics().calls == 0
    assert session.fault() is None


def test_a_fault_is_named_after_the_restart(session: RpcSession) -> None:
    crash = session.function("crash")
    session.call(crash, [])
    with pytest.raises(DeviceRestartedError, match=r"call of crash: .*fault at pc 0x") as info:
        session.flush()
    assert info.value.fault is not None
    assert info.value.fault.function == crash.index
    assert "cfsr 0x" in info.value.fault.text
    assert "bfar 0x70000000" in info.value.fault.text
    assert session.function("crash") == crash


def test_a_hanging_operator_ends_with_the_deadline(session: RpcSession) -> None:
    session.call(session.function("hang"), [])
    session.timeout_seconds = 1
    with pytest.raises(DeviceTimeoutError, match="did not answer in time"):
        session.flush()


def test_a_killed_qemu_is_named(session: RpcSession, stream: ProcessStream) -> None:
    os.kill(stream.pid, signal.SIGKILL)
    with pytest.raises(StreamClosedError, match=r"qemu-system-arm: .*signal SIGKILL"):
        session.statistics()
