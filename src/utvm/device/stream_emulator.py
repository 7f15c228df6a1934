"""A byte stream to a program in the emulator: the UART and the timer of an MPS2 board.

In: a program that was linked for such a board with the port ``mps2_uart``, and the board. Out: a
``ByteStream``; the timer counts modelled cycles, so timings over it are the same every time. The
emulator runs in a thread of its own and rests while the program waits for input. A fault ends the
stream with the emulator's own error; a reset by the program starts it again with fresh memory.
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

_PERIPHERALS, _PERIPHERALS_BYTES = 0x40000000, 0x5000
_TIMER_VALUE = 0x0004
_UART_DATA, _UART_STATE = 0x4000, 0x4004
_RX_FULL = 2
_SLICE_INSTRUCTIONS = 20_000_000  # between two looks at whether the stream is closed
_PATIENCE = 2


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
            while not self._closed:
                self._start()
        except DeviceError as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _start(self) -> None:
        """One life of the program, from reset to reset or until the stream is closed."""
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
        )
        machine.map_registers(_PERIPHERALS, _PERIPHERALS_BYTES, self._register, self._set_register)
        start_program(machine, self._image)
        while not self._closed:
            stop = machine.run(instruction_limit=_SLICE_INSTRUCTIONS)
            if self._closed or stop.reason is Reason.RESET:
                return
            if stop.fault is not None:
                raise stop.fault
            if stop.reason is Reason.BREAKPOINT:
                raise faults.exception_fault(faults.BREAKPOINT, machine.where())
            if stop.reason is not Reason.LIMIT:
                raise faults.sleep_fault(machine.where())

    def _register(self, offset: int) -> int:
        if offset == _TIMER_VALUE:
            return ~self._machine.cycles & 0xFFFFFFFF
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
