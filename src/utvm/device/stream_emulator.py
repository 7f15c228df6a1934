"""A byte stream to a program in the emulator: the UART of an MPS2 board.

In: a program that was linked for a board with that UART (driver ``cmsdk``), and the board. Out: a
``ByteStream``. The emulator runs in a thread of its own and rests while the program waits for
input. A fault is the program's own to handle, as on a real core; one that it cannot handle ends the
stream with the emulator's error. A reset by the program starts it again with its memory as it is.
"""

from __future__ import annotations

import threading
import time

from utvm.device import emulator_faults as faults
from utvm.device.elf import ElfImage
from utvm.device.emulated_machine import EmulatedMachine, MemoryRegion, Reason
from utvm.device.emulator import start_program
from utvm.device.session import StreamClosedError
from utvm.support.errors import DeviceError
from utvm.target.board import Board
from utvm.target.target import Target

_UART_BYTES = 0x1000
_UART_DATA, _UART_STATE = 0x0, 0x4
_RX_FULL = 2
_SLICE_INSTRUCTIONS = 20_000_000  # between two looks at whether the stream is closed
_PATIENCE = 2
_DEBUG_EVENT = 1 << 31  # of HFSR: a breakpoint, and there is no debugger


class EmulatorStream:
    """The program's UART. ``close`` ends the program."""

    def __init__(self, image: ElfImage, target: Target, board: Board) -> None:
        self._image, self._target, self._board = image, target, board
        self._changed = threading.Condition()
        self._to_device = bytearray()
        self._from_device = bytearray()
        self._closed = False
        self._asked = 0  # for the UART's state, since the last byte in or out
        self._error: DeviceError | None = None
        self._machine: EmulatedMachine
        self._thread = threading.Thread(target=self._emulate, name="emulator", daemon=True)
        self._thread.start()

    def read(self, deadline: float) -> bytes:
        """See ``ByteStream``."""
        with self._changed:
            while not self._from_device:
                self._check()
                left = deadline - time.monotonic()
                if left <= 0:
                    return b""
                self._changed.wait(left)
            data = bytes(self._from_device)
            self._from_device.clear()
            return data

    def write(self, data: bytes, deadline: float) -> None:
        """See ``ByteStream``."""
        with self._changed:
            self._check()
            self._to_device += data
            self._changed.notify_all()

    def close(self) -> None:
        """See ``ByteStream``."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _check(self) -> None:
        """Raises what has ended the stream."""
        if self._error is not None:
            error = self._error
            raise StreamClosedError(
                error.what,
                where=error.where,
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            )
        if self._closed:
            raise StreamClosedError("the stream is closed", where=self._board.name)

    def _emulate(self) -> None:
        """The thread: runs the program, again after each reset, until it ends or is closed."""
        try:
            self._start()
            while not self._closed:
                self._run()
        except DeviceError as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _start(self) -> None:
        """Makes the board and loads the program."""
        regions = [
            MemoryRegion(m.name, m.origin, m.size_bytes, m.kind == "ram", True)
            for m in self._board.memories
        ]
        low, high = (self._image.symbols[f"__utvm_stack_{end}"].address for end in ("low", "top"))
        self._machine = machine = EmulatedMachine(
            self._target.cpu,
            self._target.cycle_model,
            regions,
            stack=(low, high),
            place=self._image.function_at,
            takes_exceptions=True,
        )
        base = self._board.uart.base if self._board.uart else 0
        machine.map_registers(base, _UART_BYTES, self._register, self._set_register)
        start_program(machine, self._image)

    def _run(self) -> None:
        """One life of the program, from reset to reset or until the stream is closed."""
        machine = self._machine
        while not self._closed:
            stop = machine.run(instruction_limit=_SLICE_INSTRUCTIONS)
            if self._closed:
                return
            if stop.reason is Reason.RESET:
                machine.reset()
                return
            if stop.fault is not None:
                raise stop.fault
            if stop.reason is Reason.BREAKPOINT:
                if machine.take_fault(0, _DEBUG_EVENT):
                    continue
                raise faults.exception_fault(faults.BREAKPOINT, machine.where())
            if stop.reason is not Reason.LIMIT:
                raise faults.sleep_fault(machine.where())

    def _register(self, offset: int) -> int:
        with self._changed:
            if offset == _UART_STATE:
                return self._state()
            if offset == _UART_DATA and self._to_device:
                self._asked = 0
                return self._to_device.pop(0)
        return 0

    def _state(self) -> int:
        """There is always room for output. Who asks again and again waits for input, and rests."""
        self._asked += 1
        while self._asked > _PATIENCE and not self._to_device:
            if self._closed:
                self._machine.stop()
                return 0
            self._changed.wait()
        return _RX_FULL if self._to_device else 0

    def _set_register(self, offset: int, value: int) -> None:
        if offset == _UART_DATA:
            with self._changed:
                self._asked = 0
                self._from_device.append(value & 0xFF)
                self._changed.notify_all()
