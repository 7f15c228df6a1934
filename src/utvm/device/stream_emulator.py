"""A byte stream to a program in the emulator: the UART and the timer of an MPS2 board.

In: a program that was linked for such a board with the port ``mps2_uart``, and the board. Out: a
``ByteStream``; the timer counts modelled cycles, so timings over it are the same every time. The
emulator runs in a thread of its own and rests while the program waits for input. A fault ends the
stream with the emulator's own error; a reset by the program starts it again with fresh memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from utvm.device.elf import ElfImage
from utvm.device.emulator import _Run
from utvm.device.emulator_core import Core, MemoryRegion
from utvm.device.session import StreamClosedError
from utvm.support.errors import DeviceError
from utvm.target.board import Board
from utvm.target.target import Target

_PERIPHERALS, _PERIPHERALS_BYTES = 0x40000000, 0x5000
_TIMER_VALUE = 0x0004
_UART_DATA, _UART_STATE = 0x4000, 0x4004
_RX_FULL = 2
_RESET_REGISTER, _RESET_REQUEST = 0xE000ED0C, 0x05FA0004
_ENDLESS = 1 << 62
_PATIENCE = 2


class _ClosedError(Exception):
    """The stream is closed: the thread ends."""


class _ResetError(Exception):
    """The program asks for a reset."""


class _UartCore(Core):
    """A core with registers at the addresses of the peripherals."""

    def map_registers(self, read: Callable[[int], int], write: Callable[[int, int], None]) -> None:
        def on_read(uc: Any, offset: int, size: int, data: Any) -> int:
            return read(offset)

        def on_write(uc: Any, offset: int, size: int, value: int, data: Any) -> None:
            write(offset, value)

        self._uc.mmio_map(_PERIPHERALS, _PERIPHERALS_BYTES, on_read, None, on_write, None)

    def wants_reset(self) -> bool:
        """Whether the program has asked for a reset; it then waits for it."""
        register = self._uc.mem_read(_RESET_REGISTER, 4)
        return int.from_bytes(register, "little") == _RESET_REQUEST

    def stop(self) -> None:
        self._uc.emu_stop()


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
        self._core: _UartCore
        self._run: _Run
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
        except _ClosedError:
            pass
        except DeviceError as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _start(self) -> None:
        """One life of the program, from reset to reset."""
        regions = [
            MemoryRegion(m.name, m.origin, m.size_bytes, m.kind == "ram", True)
            for m in self._board.memories
        ]
        self._core = _UartCore(self._target.cpu, regions)
        self._core.map_registers(self._register, self._set_register)
        self._core.load(self._image)
        low, high = (self._image.symbols[f"__utvm_stack_{end}"].address for end in ("low", "top"))
        model = self._target.cycle_model
        self._run = _Run(self._image, self._core, self._target.cpu, model, (low, high), "main", ())
        try:
            self._run.run(_ENDLESS, self._look)
        except _ResetError:
            return
        except DeviceError:
            if self._closed:  # the core was stopped while it waited for input
                raise _ClosedError from None
            raise
        finally:
            self._run.release()
        raise DeviceError("the program has ended", where=self._board.name)

    def _look(self, instructions: int) -> None:
        """Between two slices: whether to go on."""
        if self._closed:
            raise _ClosedError
        if self._core.wants_reset():
            raise _ResetError

    def _register(self, offset: int) -> int:
        if offset == _TIMER_VALUE:
            return ~int(self._run.machine.cycles) & 0xFFFFFFFF
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
                self._core.stop()
                return 0
            self._changed.wait()
        return _RX_FULL if self._to_device else 0

    def _set_register(self, offset: int, value: int) -> None:
        if offset == _UART_DATA:
            with self._changed:
                self._asked = 0
                self._from_device.append(value & 0xFF)
                self._changed.notify_all()
