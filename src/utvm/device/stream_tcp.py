"""A byte stream over TCP: to a server that has the board's own stream (``utvm rpc serve``).

In: a host and a port. Out: a ``ByteStream``. Names are looked up once; every address of the host is
tried. What is sent goes out at once, since the protocol waits for answers.
"""

from __future__ import annotations

import socket

from utvm.device.session import StreamClosedError
from utvm.device.stream import FdStream
from utvm.support.errors import DeviceError
from utvm.support.text import printable

CONNECT_SECONDS = 10.0


class TcpStream(FdStream):
    """A connection to a server."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        descriptor = connection.detach()
        super().__init__(descriptor, descriptor, name)

    def ended(self, reason: str) -> StreamClosedError:
        """A server that serves somebody else closes the connection at once."""
        error = super().ended(reason)
        error.hint = "the server has ended, its board has, or it serves another client"
        return error


def connect_tcp(host: str, port: int, timeout_seconds: float = CONNECT_SECONDS) -> TcpStream:
    """A connection to the server at ``host`` and ``port``."""
    name = printable(f"{host}:{port}")
    try:
        connection = socket.create_connection((host, port), timeout_seconds)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name that can be looked up
        reason = getattr(error, "strerror", None) or str(error)
        raise DeviceError(
            "there is no connection to the server",
            where=name,
            found=printable(reason, 200),
            hint="does utvm rpc serve run there?",
        ) from error
    return TcpStream(connection, name)
