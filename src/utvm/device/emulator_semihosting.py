"""Semihosting: the calls a program makes to its host with ``bkpt 0xAB`` (Arm's specification 2.0).

In: the operation number and its argument, and access to the device's memory. Out: the result for
r0, or the wish to exit. Files are a dictionary in memory and nothing else: the host's file system
is never touched. ``:tt`` is the console. Every pointer and length comes from the program and is
checked; totals are bounded, so a runaway program cannot fill the host's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from utvm.support.errors import DeviceError
from utvm.support.text import printable

CONSOLE_LIMIT_BYTES = 16 << 20
FILES_LIMIT_BYTES = 256 << 20
OPEN_LIMIT = 64
STRING_LIMIT = 1 << 20
_FAILED = 0xFFFFFFFF
_ENOENT, _EBADF, _EMFILE, _EINVAL = 2, 9, 24, 22
_APPLICATION_EXIT = 0x20026
_CENTISECOND_CYCLES = 1_000_000  # of a nominal 100 MHz core


class Memory(Protocol):
    """The device's memory; both raise ``DeviceError`` outside of what the board has."""

    def read(self, address: int, size: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...


@dataclass
class _Open:
    name: str
    position: int = 0
    readable: bool = True
    writable: bool = False
    append: bool = False
    console: bool = False


@dataclass
class Semihosting:
    """The host's side of one run."""

    memory: Memory
    cycles: Callable[[], int]
    files: dict[str, bytearray] = field(default_factory=dict)
    console: bytearray = field(default_factory=bytearray)
    exit_status: int | None = None
    _handles: dict[int, _Open] = field(default_factory=dict)
    _next_handle: int = 1
    _errno: int = 0

    def call(self, operation: int, argument: int) -> int:
        """Does ``operation`` and returns what r0 becomes."""
        known = _OPERATIONS.get(operation)
        if known is None:
            raise DeviceError(
                f"the program asks for the unknown semihosting operation {operation:#x}",
                expected="an operation of Arm's semihosting specification",
                hint="look at r0 before the bkpt instruction",
            )
        return known(self, argument) & 0xFFFFFFFF

    def _words(self, argument: int, count: int) -> tuple[int, ...]:
        block = self.memory.read(argument, 4 * count)
        return tuple(int.from_bytes(block[at : at + 4], "little") for at in range(0, 4 * count, 4))

    def _fail(self, errno: int) -> int:
        self._errno = errno
        return _FAILED

    def _print(self, data: bytes) -> None:
        if len(self.console) + len(data) > CONSOLE_LIMIT_BYTES:
            raise DeviceError(
                "the program prints without end",
                expected=f"at most {CONSOLE_LIMIT_BYTES} bytes",
                hint="look for a loop around its output",
            )
        self.console += data

    def _string(self, address: int) -> bytes:
        """A string that ends in a zero byte; read in small steps up to the end of its memory."""
        text = bytearray()
        while len(text) < STRING_LIMIT:
            step = 64 - (address + len(text)) % 64
            piece = self.memory.read(address + len(text), step)
            head, zero, _ = piece.partition(b"\0")
            text += head
            if zero:
                return bytes(text)
        raise DeviceError(
            f"the program passes a string at {address:#010x} that does not end",
            expected=f"a zero byte within {STRING_LIMIT} bytes",
        )

    # The operations, in the order of the specification.

    def _open(self, argument: int) -> int:
        name_at, mode, length = self._words(argument, 3)
        if mode > 11 or length > 4096:
            return self._fail(_EINVAL)
        if len(self._handles) >= OPEN_LIMIT:
            return self._fail(_EMFILE)
        name = self.memory.read(name_at, length).decode("utf-8", "replace")
        # Modes come in pairs (text, binary): r, r+, w, w+, a, a+.
        verb, plus = mode // 4, bool(mode & 2)
        opened = _Open(name, readable=verb == 0 or plus, writable=verb > 0 or plus)
        opened.append = verb == 2
        opened.console = name == ":tt"
        if not opened.console:
            if verb == 0 and name not in self.files:
                return self._fail(_ENOENT)
            if verb == 1 or name not in self.files:
                self.files[name] = bytearray()
        handle = self._next_handle
        self._next_handle += 1
        self._handles[handle] = opened
        return handle

    def _close(self, argument: int) -> int:
        (handle,) = self._words(argument, 1)
        if self._handles.pop(handle, None) is None:
            return self._fail(_EBADF)
        return 0

    def _write_char(self, argument: int) -> int:
        self._print(self.memory.read(argument, 1))
        return 0

    def _write_string(self, argument: int) -> int:
        self._print(self._string(argument))
        return 0

    def _write(self, argument: int) -> int:
        handle, source, length = self._words(argument, 3)
        opened = self._handles.get(handle)
        if opened is None or not opened.writable:
            self._errno = _EBADF
            return length  # nothing was written
        data = self.memory.read(source, length)
        if opened.console:
            self._print(data)
            return 0
        content = self.files[opened.name]
        if opened.append:
            opened.position = len(content)
        end = opened.position + length
        growth = max(0, end - len(content))
        total = sum(len(other) for other in self.files.values())
        if total + growth > FILES_LIMIT_BYTES:
            raise DeviceError(
                f"the program writes too much to {printable(opened.name)}",
                expected=f"at most {FILES_LIMIT_BYTES} bytes in all files",
            )
        content.extend(bytes(max(0, opened.position - len(content))))
        content[opened.position : end] = data
        opened.position = end
        return 0

    def _read(self, argument: int) -> int:
        handle, target, length = self._words(argument, 3)
        opened = self._handles.get(handle)
        if opened is None or not opened.readable:
            self._errno = _EBADF
            return length
        if opened.console:
            return length  # the console has no input
        content = self.files[opened.name]
        data = bytes(content[opened.position : opened.position + length])
        self.memory.write(target, data)
        opened.position += len(data)
        return length - len(data)

    def _read_char(self, argument: int) -> int:
        return self._fail(_EINVAL)  # the console has no input

    def _is_error(self, argument: int) -> int:
        (status,) = self._words(argument, 1)
        return 1 if status >> 31 else 0

    def _is_console(self, argument: int) -> int:
        (handle,) = self._words(argument, 1)
        opened = self._handles.get(handle)
        if opened is None:
            return self._fail(_EBADF)
        return 1 if opened.console else 0

    def _seek(self, argument: int) -> int:
        handle, position = self._words(argument, 2)
        opened = self._handles.get(handle)
        if opened is None or opened.console:
            return self._fail(_EBADF)
        if position > len(self.files[opened.name]):
            return self._fail(_EINVAL)
        opened.position = position
        return 0

    def _length(self, argument: int) -> int:
        (handle,) = self._words(argument, 1)
        opened = self._handles.get(handle)
        if opened is None or opened.console:
            return self._fail(_EBADF)
        return len(self.files[opened.name])

    def _remove(self, argument: int) -> int:
        name_at, length = self._words(argument, 2)
        if length > 4096:
            return self._fail(_EINVAL)
        name = self.memory.read(name_at, length).decode("utf-8", "replace")
        if name not in self.files or any(other.name == name for other in self._handles.values()):
            return self._fail(_ENOENT)
        del self.files[name]
        return 0

    def _clock(self, argument: int) -> int:
        """Centiseconds, from modelled cycles: wall-clock time would differ from run to run."""
        return self.cycles() // _CENTISECOND_CYCLES

    def _elapsed(self, argument: int) -> int:
        self.memory.write(argument, self.cycles().to_bytes(8, "little"))
        return 0

    def _tick_frequency(self, argument: int) -> int:
        return 100 * _CENTISECOND_CYCLES

    def _last_errno(self, argument: int) -> int:
        return self._errno

    def _exit(self, argument: int) -> int:
        self.exit_status = 0 if argument == _APPLICATION_EXIT else 1
        return 0

    def _exit_extended(self, argument: int) -> int:
        reason, status = self._words(argument, 2)
        self.exit_status = status if reason == _APPLICATION_EXIT else 1
        return 0


_OPERATIONS: dict[int, Callable[[Semihosting, int], int]] = {
    0x01: Semihosting._open,
    0x02: Semihosting._close,
    0x03: Semihosting._write_char,
    0x04: Semihosting._write_string,
    0x05: Semihosting._write,
    0x06: Semihosting._read,
    0x07: Semihosting._read_char,
    0x08: Semihosting._is_error,
    0x09: Semihosting._is_console,
    0x0A: Semihosting._seek,
    0x0C: Semihosting._length,
    0x0E: Semihosting._remove,
    0x10: Semihosting._clock,
    0x13: Semihosting._last_errno,
    0x18: Semihosting._exit,
    0x20: Semihosting._exit_extended,
    0x30: Semihosting._elapsed,
    0x31: Semihosting._tick_frequency,
}


def open_files(files: Mapping[str, bytes]) -> dict[str, bytearray]:
    """A copy of ``files`` that a run may change."""
    return {name: bytearray(data) for name, data in files.items()}
