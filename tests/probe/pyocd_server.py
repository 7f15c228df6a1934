"""A probe that pyOCD reaches by TCP, in front of a virtual debug port: a test tool.

In: pyOCD's remote probe protocol, version 1: a JSON object per line, ``{"id", "request",
"arguments"}``, answered by ``{"id", "status", "result" or "error"}``; one client at a time. Out:
accesses to the debug port, as a plain SWD probe without caches would make them. ``pyocd`` then
connects to the probe ``remote:localhost:PORT``. Assumes that nobody else uses the debug port.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

from tests.probe.debug_port import DebugPort

VERSION = 1
_GENERAL_ERROR, _TRANSFER_FAULT = 1, 12
_PROPERTIES = {
    "vendor_name": "utvm",
    "product_name": "virtual probe",
    "supported_wire_protocols": ["DEFAULT", "SWD"],
    "capabilities": [],
}


class _FaultError(Exception):
    """The debug port has a sticky error."""


class PyOcdServer:
    """Serves on a port of this computer, in a thread of its own, until it is closed."""

    def __init__(self, port: DebugPort) -> None:
        self._port = port
        self._wire_protocol: str | None = None
        self._reset = False
        self._listener = socket.create_server(("localhost", 0))
        self._client: socket.socket | None = None
        self._handlers: dict[str, Callable[..., Any]] = {
            "hello": self._hello,
            "readprop": self._property,
            "connect": self._connect,
            "disconnect": lambda: self._connect(None),
            "reset": self._pulse_reset,
            "assert_reset": self._assert_reset,
            "is_reset_asserted": lambda: self._reset,
            "read_dp": lambda address: port.read_dp(address & 0xC),
            "write_dp": lambda address, value: port.write_dp(address & 0xC, value),
            "read_ap": self._read_ap,
            "write_ap": self._write_ap,
            "read_ap_multiple": lambda at, count: [self._read_ap(at) for _ in range(count)],
            "write_ap_multiple": lambda at, values: (
                [self._write_ap(at, v) for v in values] and None
            ),
            "get_memory_interface_for_ap": lambda version, address: None,
        }
        for name in ("open", "close", "lock", "unlock", "flush"):
            self._handlers[name] = lambda: None
        for name in ("set_clock", "swj_sequence"):
            self._handlers[name] = lambda *arguments: None
        self._thread = threading.Thread(target=self._serve, name="pyocd server", daemon=True)
        self._thread.start()

    @property
    def probe(self) -> str:
        """The probe's name for pyOCD."""
        return f"remote:localhost:{self._listener.getsockname()[1]}"

    def drop(self) -> None:
        """Cuts the connection, as a cable that is pulled does."""
        client = self._client
        if client is not None:
            with contextlib.suppress(OSError):  # it may have gone by itself
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """May be called again."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.drop()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                self._client, _ = self._listener.accept()
            except OSError:  # closed
                return
            with contextlib.suppress(OSError), self._client as client:  # it may go at any moment
                self._talk(client)
            self._client = None

    def _talk(self, client: socket.socket) -> None:
        with client.makefile("rb") as requests:
            for line in requests:
                client.sendall(json.dumps(self._answer(json.loads(line))).encode() + b"\n")

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {"id": request["id"], "status": 0}
        handler = self._handlers.get(request["request"])
        if handler is None:
            return answer | {"status": _GENERAL_ERROR, "error": "unknown request type"}
        try:
            result = handler(*request.get("arguments", ()))
        except _FaultError:
            return answer | {"status": _TRANSFER_FAULT, "error": "FAULT ACK"}
        return answer if result is None else answer | {"result": result}

    def _hello(self, version: int) -> None:
        assert version == VERSION

    def _property(self, name: str) -> Any:
        return self._wire_protocol if name == "wire_protocol" else _PROPERTIES[name]

    def _connect(self, protocol: str | None) -> None:
        self._wire_protocol = "SWD" if protocol == "DEFAULT" else protocol

    def _assert_reset(self, asserted: bool) -> None:
        self._reset = asserted
        self._port.hold_reset(asserted)

    def _pulse_reset(self) -> None:
        self._assert_reset(True)
        self._assert_reset(False)

    def _read_ap(self, address: int) -> int:
        value = self._port.read_ap(address & 0xC)
        self._check()
        return value

    def _write_ap(self, address: int, value: int) -> None:
        self._port.write_ap(address & 0xC, value)
        self._check()

    def _check(self) -> None:
        if self._port.faulted:
            raise _FaultError
