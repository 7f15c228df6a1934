"""The client on a serial port: a pseudo-terminal with the native server on its other side."""

from __future__ import annotations

import os
import subprocess
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_SECONDS
from utvm.device.rpc_client import RpcSession
from utvm.device.session import StreamClosedError
from utvm.device.stream_serial import open_serial
from utvm.support.errors import DeviceError, InputError


class Board:
    """A server whose UART is a pseudo-terminal; ``port`` is what the host opens.

    Its side of the port is kept open: the server would read an end between two hosts.
    """

    def __init__(self, server: Path) -> None:
        self.uart, self.wire = os.openpty()
        tty.setraw(self.wire)
        self.port = Path(os.ttyname(self.wire))
        self.process = subprocess.Popen([server], stdin=self.uart, stdout=self.uart)

    def unplug(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.uart >= 0:
            os.close(self.uart)
            os.close(self.wire)
            self.uart = -1


@pytest.fixture
def board(native_server: Path) -> Iterator[Board]:
    board = Board(native_server)
    yield board
    board.unplug()


def test_every_byte_passes(board: Board) -> None:
    data = bytes(range(256)) * 8
    with RpcSession(open_serial(board.port), timeout_seconds=PATIENCE_SECONDS) as session:
        address = session.allocate(len(data))
        session.write(address, data)
        assert session.read(address, len(data)) == data


def test_a_second_host_finds_the_board_as_it_is(board: Board) -> None:
    for _ in range(3):
        with RpcSession(open_serial(board.port, 9600), timeout_seconds=PATIENCE_SECONDS) as session:
            session.allocate(2000)


def test_an_unplugged_board_is_named(board: Board) -> None:
    with RpcSession(open_serial(board.port), timeout_seconds=PATIENCE_SECONDS) as session:
        board.unplug()
        with pytest.raises(StreamClosedError, match=r"pts.*the stream has ended"):
            session.statistics()


def test_what_is_no_port(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="the serial port cannot be opened; found No such file"):
        open_serial(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeviceError, match="this is no serial port"):
        open_serial(tmp_path / "file")
    with pytest.raises(InputError, match="the speed is none; found 0 baud"):
        open_serial(tmp_path / "file", 0)


def test_a_port_belongs_to_one_host_at_a_time(board: Board) -> None:
    with (
        RpcSession(open_serial(board.port), timeout_seconds=PATIENCE_SECONDS),
        pytest.raises(DeviceError, match=r"pts.*: the serial port is in use; hint: end what"),
    ):
        open_serial(board.port)
