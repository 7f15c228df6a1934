"""The server in the emulator, over its UART: the same session, with cycles that never change."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PATIENCE_SECONDS
from tests.rpc.programs import build_server
from utvm.device.rpc_client import RpcSession
from utvm.device.rpc_program import connect
from utvm.device.session import DeviceTensor, DeviceTimeoutError, StatusError
from utvm.target.board import load_board

BOARDS = ["emu_cortex_m3", "emu_cortex_m4", "emu_cortex_m7", "emu_cortex_m33"]
UINT8 = np.dtype(np.uint8)


@pytest.fixture(scope="module", params=BOARDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_server(request.param, tmp_path_factory.mktemp("server"))


@pytest.fixture
def session(server: Path) -> Iterator[RpcSession]:
    board = load_board(server.stem.removeprefix("server_"))
    with RpcSession(connect(server, board), timeout_seconds=PATIENCE_SECONDS) as session:
        yield session
    assert not [thread for thread in threading.enumerate() if thread.name == "emulator"]


def test_memory_calls_and_time(session: RpcSession) -> None:
    data = bytes(range(256)) * 4
    address = session.allocate(len(data))
    session.write(address, data)
    cell = DeviceTensor(address, (4,), UINT8)
    increment = session.function("increment")
    session.call(increment, [cell])
    assert session.read(address, len(data)) == bytes((1, 2, 3, 4)) + data[4:]
    session.time(increment, [cell], number=10)  # fills the branch predictor, where there is one
    first, second = (session.time(increment, [cell], repeat=3, number=10) for _ in range(2))
    assert first == second, "modelled cycles"
    assert len(set(first.cycles)) == 1
    assert first.cycles_per_call > 20
    session.call(session.function("refuse"), [])
    with pytest.raises(StatusError, match="TVM_ERROR_WORKSPACE"):
        session.flush()
    assert session.logs() == "TVM_ERROR_WORKSPACE: refuse\n"


def test_a_reset_gives_a_new_session(session: RpcSession) -> None:
    session.call(session.function("increment"), [DeviceTensor(session.allocate(4), (4,), UINT8)])
    session.flush()
    session.reset()
    assert session.statistics().calls == 0


def test_a_hanging_operator_ends_with_the_deadline(session: RpcSession) -> None:
    session.call(session.function("hang"), [])
    session.timeout_seconds = 0.5
    with pytest.raises(DeviceTimeoutError, match="did not answer in time"):
        session.flush()
