"""Semihosting calls against a small memory of their own; one program end to end."""

from __future__ import annotations

import pytest

from tests.device.assembly import Program
from utvm.device.emulator_semihosting import Semihosting, open_files
from utvm.support.errors import DeviceError

OPEN, CLOSE, WRITEC, WRITE0, WRITE, READ, READC = 1, 2, 3, 4, 5, 6, 7
ISERROR, ISTTY, SEEK, FLEN, REMOVE, CLOCK, ERRNO = 8, 9, 0xA, 0xC, 0xE, 0x10, 0x13
EXIT, EXIT_EXTENDED, ELAPSED, TICKFREQ = 0x18, 0x20, 0x30, 0x31
FAILED = 0xFFFFFFFF
TEXT, BLOCK, DATA = 0, 64, 128


class FakeMemory:
    """A kilobyte at address 0."""

    def __init__(self) -> None:
        self.content = bytearray(1024)

    def read(self, address: int, size: int) -> bytes:
        if address + size > len(self.content):
            raise DeviceError("outside of memory")
        return bytes(self.content[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        if address + len(data) > len(self.content):
            raise DeviceError("outside of memory")
        self.content[address : address + len(data)] = data


class Host:
    """Semihosting with arguments put into memory."""

    def __init__(self, **files: bytes) -> None:
        self.memory = FakeMemory()
        self.semihosting = Semihosting(self.memory, lambda: 3_000_000, open_files(files))

    def call(self, operation: int, *words: int) -> int:
        block = b"".join(word.to_bytes(4, "little") for word in words)
        self.memory.write(BLOCK, block)
        return self.semihosting.call(operation, BLOCK)

    def open(self, name: str, mode: int) -> int:
        self.memory.write(TEXT, name.encode() + b"\0")
        return self.call(OPEN, TEXT, mode, len(name))


def test_a_file_is_read_in_pieces() -> None:
    host = Host(data=b"abcdefgh")
    handle = host.open("data", 1)
    assert host.call(FLEN, handle) == 8
    assert host.call(READ, handle, DATA, 5) == 0
    assert host.memory.read(DATA, 5) == b"abcde"
    assert host.call(READ, handle, DATA, 5) == 2  # two of the five are missing
    assert host.memory.read(DATA, 3) == b"fgh"
    assert host.call(SEEK, handle, 1) == 0
    assert host.call(READ, handle, DATA, 2) == 0
    assert host.memory.read(DATA, 2) == b"bc"
    assert host.call(SEEK, handle, 9) == FAILED
    assert host.call(CLOSE, handle) == 0
    assert host.call(READ, handle, DATA, 2) == 2
    assert host.call(ERRNO) == 9


def test_a_file_is_written_and_appended() -> None:
    host = Host(log=b"old")
    host.memory.write(DATA, b"12345")
    new, log = host.open("new", 5), host.open("log", 9)
    assert host.call(WRITE, new, DATA, 5) == 0
    assert host.call(WRITE, log, DATA, 2) == 0
    assert host.semihosting.files == {"new": b"12345", "log": b"old12"}
    assert host.call(READ, new, DATA, 1) == 1  # opened for writing only


def test_a_missing_file_cannot_be_read() -> None:
    host = Host()
    assert host.open("absent", 0) == FAILED
    assert host.call(ERRNO) == 2
    assert host.open("absent", 12) == FAILED
    assert host.call(ERRNO) == 22


def test_a_read_only_file_is_not_written() -> None:
    host = Host(data=b"abc")
    handle = host.open("data", 0)
    assert host.call(WRITE, handle, DATA, 2) == 2
    assert host.semihosting.files == {"data": b"abc"}


def test_a_file_is_removed_once_closed() -> None:
    host = Host(data=b"abc")
    handle = host.open("data", 0)
    assert host.call(REMOVE, TEXT, 4) == FAILED
    host.call(CLOSE, handle)
    assert host.call(REMOVE, TEXT, 4) == 0
    assert host.semihosting.files == {}


def test_the_console_takes_characters_strings_and_blocks() -> None:
    host = Host()
    console = host.open(":tt", 4)
    host.memory.write(DATA, b"hello\0")
    host.semihosting.call(WRITEC, DATA)
    host.semihosting.call(WRITE0, DATA)
    host.call(WRITE, console, DATA, 3)
    assert bytes(host.semihosting.console) == b"hhellohel"
    assert host.call(ISTTY, console) == 1
    assert host.call(FLEN, console) == FAILED
    assert host.semihosting.call(READC, 0) == FAILED
    assert host.semihosting.files == {}


def test_time_is_modelled_time() -> None:
    host = Host()
    assert host.call(CLOCK) == 3
    assert host.call(TICKFREQ) == 100_000_000
    assert host.semihosting.call(ELAPSED, DATA) == 0
    assert int.from_bytes(host.memory.read(DATA, 8), "little") == 3_000_000


@pytest.mark.parametrize(
    ("operation", "words", "status"),
    [(EXIT_EXTENDED, (0x20026, 42), 42), (EXIT_EXTENDED, (0x20023, 42), 1)],
)
def test_an_extended_exit_carries_its_status(
    operation: int, words: tuple[int, ...], status: int
) -> None:
    host = Host()
    host.call(operation, *words)
    assert host.semihosting.exit_status == status


def test_errors_are_negative_numbers() -> None:
    host = Host()
    assert host.call(ISERROR, 0xFFFFFFFF) == 1
    assert host.call(ISERROR, 0) == 0


def test_too_many_open_files_are_refused() -> None:
    host = Host(data=b"")
    handles = [host.open("data", 0) for _ in range(65)]
    assert handles[63] == 64
    assert handles[64] == FAILED
    assert host.call(ERRNO) == 24


def test_a_string_without_end_is_refused() -> None:
    host = Host()
    host.memory.content[:] = b"x" * 1024
    with pytest.raises(DeviceError, match="outside of memory"):
        host.semihosting.call(WRITE0, DATA)


def test_a_program_that_prints_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utvm.device.emulator_semihosting.CONSOLE_LIMIT_BYTES", 4)
    host = Host()
    host.memory.write(DATA, b"hello\0")
    with pytest.raises(DeviceError, match="prints without end; expected at most 4 bytes"):
        host.semihosting.call(WRITE0, DATA)


def test_a_file_that_grows_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utvm.device.emulator_semihosting.FILES_LIMIT_BYTES", 4)
    host = Host()
    handle = host.open("big*/", 4)
    with pytest.raises(DeviceError, match="writes too much to big__"):
        host.call(WRITE, handle, DATA, 5)


COPY = """
  ldr r1, =arguments
  movs r0, #1
  bkpt 0xab
  mov r5, r0
  ldr r1, =transfer
  str r5, [r1]
  ldr r2, =buffer
  str r2, [r1, #4]
  movs r0, #4
  str r0, [r1, #8]
  movs r0, #6
  bkpt 0xab
  ldr r1, =buffer
  movs r0, #4
  bkpt 0xab
  movs r0, #0
  bx lr
  .ltorg
  .balign 4
arguments: .word name, 0, 5
name: .asciz "input"
  .section .bss
transfer: .space 12
  .text
"""


def test_a_program_reads_a_file_and_prints_it(program: Program) -> None:
    result = program.run(COPY, files={"input": b"text and more"})
    assert result.console == "text"
    assert result.files == {"input": b"text and more"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (" ldr r1, =0x60000000\n movs r0, #4\n bkpt 0xab", "lie in no memory of the board"),
        (" ldr r1, =0x203fffff\n movs r0, #5\n bkpt 0xab", "12 bytes at 0x203fffff lie in no"),
    ],
)
def test_a_wild_pointer_is_refused(program: Program, body: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message) as caught:
        program.run(body)
    assert caught.value.where.startswith("pc 0x")
