"""The native RPC server of the tests, built once, and sessions with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_SECONDS
from tests.rpc.programs import HERE, build_sanitized
from utvm.device.rpc_client import RpcSession
from utvm.device.rpc_program import rpc_sources
from utvm.device.stream_process import ProcessStream
from utvm.target.board import load_board

Connect = Callable[[], ProcessStream]


@pytest.fixture(scope="session")
def native_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    return build_sanitized(HERE / "server.c", folder, rpc_sources(load_board("host")))


@pytest.fixture
def connect(native_server: Path) -> Connect:
    """Starts a server."""
    return lambda: ProcessStream([str(native_server)])


@pytest.fixture
def session(connect: Connect) -> Iterator[RpcSession]:
    with RpcSession(connect(), timeout_seconds=PATIENCE_SECONDS) as session:
        yield session
