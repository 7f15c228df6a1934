"""The server on QEMU boards, over their UART: the same session on all, and every abrupt end."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PATIENCE_SECONDS
from tests.crt.programs import needs_qemu
from tests.rpc.programs import build_server
from utvm.device.rpc_client import RpcSession
from utvm.device.rpc_program import connect, has_rpc_server
from utvm.device.session import (
    DeviceRestartedError,
    DeviceTensor,
    DeviceTimeoutError,
    StatusError,
    StreamClosedError,
)
from utvm.device.stream_process import ProcessStream
from utvm.device.stream_qemu import QemuStream, Uart
from utvm.support.errors import DeviceError
from utvm.target.board import list_boards, load_board

BOARDS = [name for name in list_boards() if load_board(name).run == "qemu"]
UINT8 = np.dtype(np.uint8)


@pytest.fixture(scope="module", params=BOARDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_qemu(load_board(request.param))
    return build_server(request.param, tmp_path_factory.mktemp("server"))


@pytest.fixture
def stream(server: Path) -> Iterator[ProcessStream]:
    stream = connect(server, load_board(server.stem.removeprefix("server_")))
    assert isinstance(stream, ProcessStream)
    yield stream
    stream.close()
    with pytest.raises(ProcessLookupError):
        os.kill(stream.pid, 0)


@pytest.fixture
def session(stream: ProcessStream) -> RpcSession:
    return RpcSession(stream, timeout_seconds=PATIENCE_SECONDS)


def test_every_qemu_board_has_a_server() -> None:
    assert len(BOARDS) == 7
    assert all(has_rpc_server(load_board(name)) for name in BOARDS)


@pytest.mark.parametrize("name", ["mps2_an386", "mps2_an521", "microbit"])
def test_another_compiler(name: str, tmp_path: Path) -> None:
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("needs arm-none-eabi-gcc")
    board = load_board(name)
    needs_qemu(board)
    program = build_server(name, tmp_path, "gcc")
    with RpcSession(connect(program, board), timeout_seconds=PATIENCE_SECONDS) as session:
        for operator in ("crash", "hang", "overflow"):
            session.set_watchdog(50 if operator == "hang" else 0)
            session.call(session.function(operator), [])
            with pytest.raises(DeviceRestartedError, match=f"call of {operator}"):
                session.flush()
        spend = session.function("spend")
        session.call(spend, [])
        assert session.function_statistics(spend).workspace_peak_bytes == 1024


def test_memory_calls_and_time(session: RpcSession, server: Path) -> None:
    data = bytes(range(256)) * 4
    address = session.allocate(len(data))
    session.write(address, data)
    cell = DeviceTensor(address, (4,), UINT8)
    increment = session.function("increment")
    session.call(increment, [cell])
    assert session.read(address, len(data)) == bytes((1, 2, 3, 4)) + data[4:]
    timing = session.time(increment, [cell], repeat=2, number=10)
    board = load_board(server.stem.removeprefix("server_"))
    assert timing.cycles_per_second == board.clock_hz
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


def test_a_hanging_operator_ends_with_the_deadline(session: RpcSession) -> None:
    session.set_watchdog(0)
    session.call(session.function("hang"), [])
    session.timeout_seconds = 1
    with pytest.raises(DeviceTimeoutError, match="did not answer in time"):
        session.flush()


def test_a_killed_qemu_is_named(session: RpcSession, stream: ProcessStream) -> None:
    os.kill(stream.pid, signal.SIGKILL)
    with pytest.raises(StreamClosedError, match=r"qemu-system-\w+: .*signal SIGKILL"):
        session.statistics()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_qemu(load_board("mps2_an386"))
    return build_server("mps2_an386", tmp_path_factory.mktemp("server"))


@pytest.mark.parametrize("uart", [Uart.SOCKET, Uart.PTY])
def test_qemu_over_other_uarts(program: Path, uart: Uart) -> None:
    stream = connect(program, load_board("mps2_an386"), uart)
    assert isinstance(stream, QemuStream)
    data = bytes(range(256)) * 8
    with RpcSession(stream, timeout_seconds=PATIENCE_SECONDS) as session:
        address = session.allocate(len(data))
        session.write(address, data)
        assert session.read(address, len(data)) == data
        os.kill(stream.pid, signal.SIGKILL)
        with pytest.raises(StreamClosedError, match=r"qemu-system-arm: .*signal SIGKILL"):
            session.statistics()
    with pytest.raises(ProcessLookupError):
        os.kill(stream.pid, 0)


@pytest.mark.parametrize("uart", Uart)
def test_a_qemu_that_does_not_start_is_named(tmp_path: Path, uart: Uart) -> None:
    board = load_board("mps2_an386")
    needs_qemu(board)
    nothing = tmp_path / "nothing.elf"
    with pytest.raises(
        DeviceError, match=r"qemu-system-arm: the program has ended; found status 1"
    ):
        RpcSession(connect(nothing, board, uart), timeout_seconds=PATIENCE_SECONDS)
