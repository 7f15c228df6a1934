"""A byte stream to the UART of a program on a QEMU board.

In: a linked program, its board, and what QEMU joins the UART to: its standard input and output, a
Unix socket, or a pseudo-terminal. Out: a ``ByteStream`` that owns QEMU. All three carry the
same bytes; the pseudo-terminal is there because it behaves like a serial port that is pulled out.
"""

from __future__ import annotations

import contextlib
import re
import socket
import tempfile
import time
from enum import Enum
from pathlib import Path

from utvm.device.qemu import emulated_machine
from utvm.device.session import DeviceTimeoutError, StreamClosedError
from utvm.device.stream import ByteStream, FdStream
from utvm.device.stream_process import ProcessStream
from utvm.device.stream_serial import open_serial
from utvm.support.errors import DeviceError
from utvm.target.board import Board
from utvm.target.target import Target

_START_SECONDS = 60
_POLL_SECONDS = 0.05
_PTY = re.compile(rb"char device redirected to (/dev/\S+) \(label uart\)")


class Uart(Enum):
    """What QEMU joins the board's UART to."""

    PIPE = "pipe"
    SOCKET = "socket"
    PTY = "pty"


class QemuStream:
    """Bytes over one stream, the process behind another; closing ends both."""

    def __init__(self, process: ProcessStream, uart: ByteStream) -> None:
        self.pid = process.pid
        self._process = process
        self._uart = uart

    def read(self, deadline: float) -> bytes:
        """See ``ByteStream``; the end of the stream is told with QEMU's own."""
        try:
            return self._uart.read(deadline)
        except StreamClosedError as error:
            raise self._process.ended(error.found) from error

    def write(self, data: bytes, deadline: float) -> None:
        """See ``ByteStream``."""
        try:
            self._uart.write(data, deadline)
        except StreamClosedError as error:
            raise self._process.ended(error.found) from error

    def close(self) -> None:
        """See ``ByteStream``."""
        self._uart.close()
        self._process.close()


def open_qemu_stream(program: Path, board: Board, target: Target, uart: Uart) -> ByteStream:
    """Starts QEMU with ``program``; the stream is the board's first UART."""
    command = [
        *emulated_machine(board, target),
        *("-display", "none", "-monitor", "none", "-serial", "chardev:uart"),
        *("-kernel", str(program.resolve()), "-chardev"),
    ]
    if uart is Uart.PIPE:
        return ProcessStream([*command, "stdio,id=uart,signal=off"])
    if uart is Uart.SOCKET:
        return _over_socket(command)
    return _over_pty([*command, "pty,id=uart"])


def _over_socket(command: list[str]) -> QemuStream:
    with (
        tempfile.TemporaryDirectory(prefix="utvm-qemu-") as folder,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        path = Path(folder) / "uart"
        listener.bind(str(path))
        listener.listen(1)
        process = ProcessStream([*command, f"socket,id=uart,path={path}"])
        try:
            descriptor = _accept(listener, process)
        except DeviceError:
            process.close()
            raise
    return QemuStream(process, FdStream(descriptor, descriptor, process.name))


def _accept(listener: socket.socket, process: ProcessStream) -> int:
    """The descriptor of QEMU's connection; a QEMU that ends instead is told as the error."""
    listener.settimeout(_POLL_SECONDS)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            return listener.accept()[0].detach()
        process.read(time.monotonic())
    raise DeviceTimeoutError("the program does not connect to its socket", where=process.name)


def _over_pty(command: list[str]) -> QemuStream:
    process = ProcessStream(command)
    try:
        return QemuStream(process, open_serial(_pty(process)))
    except DeviceError:
        process.close()
        raise


def _pty(process: ProcessStream) -> Path:
    """The path that QEMU tells on its standard output."""
    deadline = time.monotonic() + _START_SECONDS
    said = b""
    while True:
        data = process.read(deadline)
        if not data:
            raise DeviceTimeoutError(
                "the program does not name its pseudo-terminal", where=process.name
            )
        said += data
        if found := _PTY.search(said):
            return Path(found[1].decode("ascii", "replace"))
