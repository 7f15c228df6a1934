"""A server for OpenOCD's remote_bitbang driver, in front of a virtual target: a test tool.

In: a connection on a Unix socket, where every byte sets the JTAG pins or asks for TDO. Out: a byte
for each that asks; what the pins do to a scan chain and a debug port. The protocol is described in
OpenOCD's manual, doc/manual/jtag/drivers/remote_bitbang.txt. The server is a thread; while the
probe is silent, a core that runs goes on.
"""

from __future__ import annotations

import select
import socket
import threading
from pathlib import Path
from types import TracebackType

from tests.probe.debug_port import DebugPort
from tests.probe.jtag_tap import BoundaryScan, JtagDp, ScanChain

# STM32F74x: RM0385, section 40.6.
CPU_IDCODE, BOUNDARY_IDCODE, BOUNDARY_BITS = 0x5BA00477, 0x06449041, 5

_TDI, _TMS, _TCK = 1, 2, 4
_READ, _QUIT = ord("R"), ord("Q")
_PINS = ord("0"), ord("7")  # tck tms tdi, as a number from 0 to 7
_RESETS = {ord("r"): (0, 0), ord("s"): (0, 1), ord("t"): (1, 0), ord("u"): (1, 1)}
_BUFFER_BYTES = 1 << 16
_IDLE_SECONDS = 0.001  # how long the probe is silent before a running core goes on


def bitbang_arguments(address: Path) -> tuple[str, ...]:
    """OpenOCD's arguments for a probe behind the Unix socket ``address``."""
    commands = (
        "adapter driver remote_bitbang",
        "remote_bitbang port 0",
        f"remote_bitbang host {address}",
        "transport select jtag",
    )
    return "-c", "; ".join(commands)


class Pins:
    """What the bytes of the protocol do. ``quit`` is set once the probe has said goodbye."""

    def __init__(self, chain: ScanChain, port: DebugPort) -> None:
        self._chain, self._port = chain, port
        self._tck = 0
        self.quit = False

    def feed(self, requests: bytes) -> bytes:
        """The answers to ``requests``, one byte for each that asks for TDO."""
        chain, clock, tck = self._chain, self._chain.clock, self._tck
        lowest, highest = _PINS
        answers = bytearray()
        for request in requests:
            if request == _READ:
                answers.append(0x30 | chain.register & 1)
            elif lowest <= request <= highest:
                level = request & _TCK
                if level and not tck:
                    clock((request & _TMS) >> 1, request & _TDI)
                tck = level
            else:
                self._rare(request)
        self._tck = tck
        return bytes(answers)

    def _rare(self, request: int) -> None:
        """Reset lines and the end; a light that blinks is nothing to us."""
        if request in _RESETS:
            trst, srst = _RESETS[request]
            if trst:
                self._chain.reset()
            self._port.hold_reset(bool(srst))
        elif request == _QUIT:
            self.quit = True


class RemoteBitbang:
    """The server; one probe at a time, as often as it comes. ``address`` is its socket,
    ``port`` the target."""

    def __init__(self, port: DebugPort, folder: Path) -> None:
        taps = (JtagDp(port, CPU_IDCODE), BoundaryScan(BOUNDARY_IDCODE, BOUNDARY_BITS))
        self.port, self._chain = port, ScanChain(taps)
        self.address = folder / "bitbang.sock"
        self.requests = 0  # bytes taken, for measurements
        self.failure: BaseException | None = None
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(self.address))
        self._server.listen(1)
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)

    @property
    def openocd(self) -> tuple[str, ...]:
        """What OpenOCD is told so that it takes this server for its probe."""
        return bitbang_arguments(self.address)

    def __enter__(self) -> RemoteBitbang:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.close()
        self._thread.join()
        self._stopped.close()
        self._server.close()
        if self.failure is not None:
            raise self.failure

    def _serve(self) -> None:
        try:
            while self._wait(self._server, None):
                connection, _ = self._server.accept()
                with connection:
                    self._talk(connection)
        except BaseException as error:  # noqa: BLE001 - raised again where the server is closed
            self.failure = error

    def _talk(self, connection: socket.socket) -> None:
        """Answers one probe until it goes, or dies."""
        pins = Pins(self._chain, self.port)
        while not pins.quit and (ready := self._wait(connection, _IDLE_SECONDS)) is not False:
            if ready is None:
                self.port.poll()
                continue
            try:
                requests = connection.recv(_BUFFER_BYTES)
                if not requests:
                    return
                self.requests += len(requests)
                connection.sendall(pins.feed(requests))
            except ConnectionError:
                return

    def _wait(self, source: socket.socket, seconds: float | None) -> bool | None:
        """True when ``source`` has something, None after the time, False when all is to end."""
        ready, _, _ = select.select([source, self._stopped], [], [], seconds)
        if self._stopped in ready:
            return False
        return True if ready else None
