"""Memory access through a GDB server: QEMU's own, which we start, or any that runs somewhere.

In: a board and its target for QEMU, or host and port. Out: ``GdbAccess``, a ``MemoryAccess``. QEMU
starts halted and without a program, talks over its standard streams (no port, no file) and dies
with us. Two of its ways matter here: writes through the stub do not reach memory-mapped registers,
so code on the device has to set VTOR and the like; and a BKPT instruction is a fault to it, so
``run`` sets a breakpoint where it is to stop.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

from utvm.device.gdb_remote import SIGINT, SIGTRAP, GdbRemote, Stop
from utvm.device.memory_access import AccessFaultError
from utvm.device.qemu import emulated_machine
from utvm.device.session import DeviceTimeoutError, StreamClosedError
from utvm.device.stream import ByteStream, FdStream
from utvm.device.stream_process import ProcessStream
from utvm.support.errors import DeviceError
from utvm.support.text import printable
from utvm.target.board import Board
from utvm.target.target import Target

CONNECT_SECONDS = 10.0
HALT_SECONDS = 10.0
_XPSR_THUMB = 1 << 24  # Armv7-M ARM, B1.4.2: where it is clear, every instruction faults


class GdbAccess:
    """See ``MemoryAccess``. After the connection has ended, ``reset`` opens a new one."""

    def __init__(self, open_stream: Callable[[], ByteStream], name: str) -> None:
        self.name = name
        self._open_stream = open_stream
        self._remote = self._connected()

    def read(self, address: int, size_bytes: int) -> bytes:
        """See ``MemoryAccess``."""
        return self._remote.read_memory(address, size_bytes)

    def write(self, address: int, data: bytes) -> None:
        """See ``MemoryAccess``."""
        if self._remote.is_qemu:
            # It drops what is written where nothing is, and says OK; reading there it refuses.
            for at in {address, address + max(len(data), 1) - 1}:
                self._remote.read_memory(at, 1)
        self._remote.write_memory(address, data)

    def register(self, name: str) -> int:
        """See ``MemoryAccess``."""
        return self._remote.read_register(name)

    def set_register(self, name: str, value: int) -> None:
        """See ``MemoryAccess``."""
        self._remote.write_register(name, value)

    def run(self, stop: int, deadline: float) -> None:
        """See ``MemoryAccess``."""
        remote = self._remote
        self._set_thumb()
        remote.set_breakpoint(stop)
        remote.resume()
        try:
            stopped = remote.wait_stop(deadline)
        except KeyboardInterrupt:
            self._halt()
            remote.clear_breakpoint(stop)
            raise
        in_time = stopped is not None
        if stopped is None:
            stopped = self._halt()
        if stopped.signal is None:
            remote.close()
            raise StreamClosedError(
                "what the GDB server runs has ended", where=self.name, found=stopped.text
            )
        remote.clear_breakpoint(stop)
        pc = remote.read_register("pc")
        if pc == stop:
            return
        if in_time and stopped.signal != SIGINT:
            raise self._stopped_elsewhere(stopped, pc)
        raise DeviceTimeoutError(
            "the core did not get where it was to stop in time",
            where=self.name,
            expected=f"pc {stop:#010x}",
            found=f"pc {pc:#010x}",
            hint="an endless loop, a fault, or too short a time",
        )

    def reset(self) -> None:
        """See ``MemoryAccess``. A QEMU that died is started anew: then memory is empty."""
        try:
            self._reset()
        except StreamClosedError:
            self._remote.close()
            self._remote = self._connected()
            self._reset()

    def close(self) -> None:
        """See ``MemoryAccess``. QEMU ends; the core behind another server stays halted."""
        self._remote.close()

    def _connected(self) -> GdbRemote:
        remote = GdbRemote(self._open_stream(), self.name)
        try:
            remote.connect()
        except BaseException:
            remote.close()
            raise
        return remote

    def _reset(self) -> None:
        # OpenOCD and pyOCD have the same command; GDB's protocol has none that all servers know.
        self._remote.monitor("system_reset" if self._remote.is_qemu else "reset halt")

    def _set_thumb(self) -> None:
        """A core that was reset without a vector table is in a state that it cannot run in."""
        if "xpsr" not in self._remote.registers:
            return
        xpsr = self._remote.read_register("xpsr")
        if not xpsr & _XPSR_THUMB:
            self._remote.write_register("xpsr", xpsr | _XPSR_THUMB)

    def _halt(self) -> Stop:
        """Halts a running core."""
        self._remote.interrupt()
        stopped = self._remote.wait_stop(time.monotonic() + HALT_SECONDS)
        if stopped is None:
            self._remote.close()
            raise DeviceTimeoutError(
                "the core cannot be halted",
                where=self.name,
                hint="the GDB server hangs; reset the device",
            )
        return stopped

    def _stopped_elsewhere(self, stopped: Stop, pc: int) -> DeviceError:
        why = "a trap" if stopped.signal == SIGTRAP else f"signal {stopped.signal}"
        return AccessFaultError(
            f"the core has halted for {why}",
            where=self.name,
            found=f"pc {pc:#010x}",
            hint="a breakpoint instruction, or a fault that the GDB server reports",
        )


def open_qemu_access(board: Board, target: Target) -> GdbAccess:
    """Starts the QEMU machine of ``board``, halted, with nothing in its memory."""
    command = [
        *emulated_machine(board, target),
        *("-display", "none", "-monitor", "none", "-serial", "none"),
        *("-S", "-chardev", "stdio,id=gdb,signal=off", "-gdb", "chardev:gdb"),
    ]
    return GdbAccess(lambda: ProcessStream(command), board.name)


def connect_gdb(host: str, port: int) -> GdbAccess:
    """The core behind the GDB server that listens at ``host`` and ``port``."""
    name = f"{printable(host)}:{port}"
    return GdbAccess(lambda: _open_socket(host, port, name), name)


def _open_socket(host: str, port: int, name: str) -> ByteStream:
    try:
        connection = socket.create_connection((host, port), CONNECT_SECONDS)
    except (OSError, OverflowError, UnicodeError) as error:
        raise DeviceError(
            "there is no connection to the GDB server",
            where=name,
            found=getattr(error, "strerror", None) or str(error),
            hint="does it run, and does it listen there?",
        ) from error
    with contextlib.suppress(OSError):  # small packets, each waited for
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    descriptor = connection.detach()
    return FdStream(descriptor, descriptor, name)
