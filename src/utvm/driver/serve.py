"""A board's stream behind a TCP port, for hosts in other rooms: ``utvm rpc serve``.

In: a function that opens the board's stream (starts its program, or opens its serial port), and a
socket that listens. Bytes go to and fro unread, one client at a time; who else comes is turned
away. Each client finds a board that was opened anew, so nothing that one did is left for the next.
It ends with an interrupt, or with a board that cannot be opened.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import threading
import time
from collections.abc import Callable

from utvm.device.stream import READ_BYTES, ByteStream
from utvm.support.errors import DeviceError, InputError
from utvm.support.text import printable

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9090
_LOOK_SECONDS = 0.2  # how soon an interrupt, or the end of the other direction, is noticed
_WRITE_SECONDS = 30.0

Notify = Callable[[str], None]


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one."""
    where = printable(f"{host}:{port}")
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[4][:2], family=address[0])
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            "the address cannot be listened on",
            where=where,
            found=printable(reason, 200),
            hint="another --port, or --host with an address of this computer",
        ) from error


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this computer can connect."""
    return ipaddress.ip_address(listener.getsockname()[0].split("%")[0]).is_loopback


def serve(open_board: Callable[[], ByteStream], listener: socket.socket, notify: Notify) -> None:
    """Serves clients one after the other, until an exception ends it."""
    while True:
        board = open_board()
        try:
            client, address = _next_client(listener)
            name = printable(f"{address[0]}:{address[1]}")
            notify(f"{name} has connected")
            with client:
                reason = _relay(board, client, listener)
            notify(f"{name} is gone{reason}")
        finally:
            board.close()


def _next_client(listener: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
    """Waits a little at a time: an interrupt just before a wait is only heard when that ends."""
    while not select.select([listener], [], [], _LOOK_SECONDS)[0]:
        pass
    return listener.accept()


def _relay(board: ByteStream, client: socket.socket, listener: socket.socket) -> str:
    """Until one side ends; returns what was wrong with the board, if that was why."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    over = threading.Event()
    errors: list[DeviceError] = []
    reader = threading.Thread(
        target=_to_client, args=(board, client, over, errors), name="relay", daemon=True
    )
    reader.start()
    try:
        _to_board(board, client, listener, over)
    except DeviceError as error:
        errors.append(error)
    finally:
        over.set()
        reader.join()
    return f"; the board: {errors[0]}" if errors else ""


def _to_board(
    board: ByteStream, client: socket.socket, listener: socket.socket, over: threading.Event
) -> None:
    while not over.is_set():
        ready = select.select([client, listener], [], [], _LOOK_SECONDS)[0]
        if client in ready:
            data = _received(client)
            if not data:  # who waits already is the next
                return
            board.write(data, time.monotonic() + _WRITE_SECONDS)
        elif listener in ready:
            listener.accept()[0].close()


def _received(client: socket.socket) -> bytes:
    """Nothing when the client has ended, in whatever way."""
    try:
        return client.recv(READ_BYTES)
    except OSError:
        return b""


def _to_client(
    board: ByteStream, client: socket.socket, over: threading.Event, errors: list[DeviceError]
) -> None:
    """The other direction, in a thread of its own."""
    try:
        while not over.is_set():
            data = board.read(time.monotonic() + _LOOK_SECONDS)
            if data:
                client.sendall(data)
    except DeviceError as error:
        errors.append(error)
    except OSError:  # the client is gone
        pass
    finally:
        over.set()
