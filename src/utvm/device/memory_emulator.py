"""Memory access to an emulated core, in this process.

In: a target and a board; nothing needs to be in flash. Out: ``EmulatorAccess``, a ``MemoryAccess``.
Faults enter the program's handlers as on a board. Runs are looked at every few million instructions
for their deadline; how fast the emulator is changes nothing but whether that is met.
"""

from __future__ import annotations

import time

from utvm.device.emulated_machine import EmulatedMachine, MemoryRegion, Reason, Stop
from utvm.device.memory_access import AccessFaultError
from utvm.device.session import DeviceTimeoutError, StreamClosedError
from utvm.support.errors import DeviceError
from utvm.target.board import Board
from utvm.target.target import Target

_SLICE_INSTRUCTIONS = 4_000_000  # between two looks at the clock


class EmulatorAccess:
    """See ``MemoryAccess``. ``machine`` is the core itself, for those who want its figures."""

    def __init__(self, target: Target, board: Board) -> None:
        self.name = board.name
        regions = [
            MemoryRegion(m.name, m.origin, m.size_bytes, m.kind == "ram", True)
            for m in board.memories
        ]
        self.machine = EmulatedMachine(
            target.cpu, target.cycle_model, regions, takes_exceptions=True
        )
        self.machine.reset()
        self._closed = False

    def read(self, address: int, size_bytes: int) -> bytes:
        """See ``MemoryAccess``."""
        self._check_open()
        try:
            return self.machine.read(address, size_bytes)
        except DeviceError as error:
            raise self._refused(error) from error

    def write(self, address: int, data: bytes) -> None:
        """See ``MemoryAccess``. Flash is not written this way on any device."""
        self._check_open()
        region = self.machine.core.find(address, max(len(data), 1))
        if region is not None and not region.writable:
            raise AccessFaultError(
                f"{len(data)} bytes at {address:#010x} are not RAM", where=self.name
            )
        try:
            self.machine.write(address, data)
        except DeviceError as error:
            raise self._refused(error) from error

    def register(self, name: str) -> int:
        """See ``MemoryAccess``."""
        self._check_open()
        return self.machine.register(name)

    def set_register(self, name: str, value: int) -> None:
        """See ``MemoryAccess``."""
        self._check_open()
        self.machine.set_register(name, value)

    def run(self, stop: int, deadline: float) -> None:
        """See ``MemoryAccess``."""
        self._check_open()
        while True:
            ended = self.machine.run((stop,), _SLICE_INSTRUCTIONS)
            if ended.reason is Reason.ADDRESS:
                return
            if ended.reason is not Reason.LIMIT:
                raise self._stopped_elsewhere(ended)
            if time.monotonic() >= deadline:
                raise DeviceTimeoutError(
                    "the core did not get where it was to stop in time",
                    where=self.name,
                    expected=f"pc {stop:#010x}",
                    found=self.machine.where(),
                    hint="an endless loop, or too short a time",
                )

    def reset(self) -> None:
        """See ``MemoryAccess``."""
        self._check_open()
        self.machine.reset()

    def close(self) -> None:
        """See ``MemoryAccess``."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StreamClosedError("the emulated core is closed", where=self.name)

    def _refused(self, error: DeviceError) -> AccessFaultError:
        return AccessFaultError(error.what, where=self.name, expected=error.expected)

    def _stopped_elsewhere(self, ended: Stop) -> AccessFaultError:
        reasons = {
            Reason.BREAKPOINT: "the core has halted at a breakpoint",
            Reason.SLEEP: "the core waits for an interrupt that never comes",
            Reason.RESET: "the program asks for a reset",
        }
        what = reasons.get(ended.reason, "the core has locked up")
        found = ended.fault.what if ended.fault else ""
        return AccessFaultError(
            what,
            where=self.name,
            found=f"{self.machine.where()}{': ' if found else ''}{found}",
        )
