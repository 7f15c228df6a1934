"""Memory access through QEMU's GDB stub, on every QEMU board, and through a port.

The programs are a few instructions put into RAM by hand: three that count, then an endless loop.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.conftest import PATIENCE_SECONDS
from tests.crt.programs import needs_qemu
from tests.device.test_child import running
from utvm.device import memory_gdb
from utvm.device.gdb_packet import frame
from utvm.device.memory_access import AccessFaultError
from utvm.device.memory_gdb import GdbAccess, connect_gdb, open_qemu_access
from utvm.device.session import DeviceTimeoutError, ProtocolError, StreamClosedError
from utvm.support.errors import DeviceError
from utvm.target.board import list_boards, load_board
from utvm.target.target import load_target

BOARDS = [name for name in list_boards() if load_board(name).run == "qemu"]
ARM_COUNT = bytes.fromhex("0130 0130 0130 fee7")  # adds r0, #1 three times; b .
RISCV_COUNT = bytes.fromhex("0505 0505 0505 01a0")  # c.addi a0, 1 three times; c.j .
UNDEFINED = bytes.fromhex("00de 00de")  # udf #0


def open_board(name: str) -> GdbAccess:
    board = load_board(name)
    needs_qemu(board)
    return open_qemu_access(board, load_target(board.target))


def soon() -> float:
    return time.monotonic() + PATIENCE_SECONDS


@pytest.fixture
def access() -> Iterator[GdbAccess]:
    opened = open_board("mps2_an386")
    yield opened
    opened.close()


@pytest.fixture
def ram() -> int:
    return load_board("mps2_an386").memory("ram").origin


def qemu_pid() -> int:
    """QEMU's process: the child of this one with a stub on its standard streams."""
    listed = subprocess.run(["ps", "-ewwo", "pid,ppid,args"], capture_output=True, text=True).stdout
    found = re.findall(rf"^ *(\d+) +{os.getpid()} .*mps2-an386.*chardev:gdb$", listed, re.M)
    assert len(found) == 1
    return int(found[0])


@pytest.mark.parametrize("board_name", BOARDS)
def test_write_run_and_read(board_name: str) -> None:
    board = load_board(board_name)
    count, result = (RISCV_COUNT, "a0") if board.target.startswith("riscv") else (ARM_COUNT, "r0")
    access = open_board(board_name)
    try:
        for memory in (m for m in board.memories if m.kind == "ram"):
            at = memory.origin + 0x100
            access.write(at, count)
            assert access.read(at, len(count)) == count
            for stop in (6, 4):
                access.set_register(result, 40)
                access.set_register("pc", at)
                access.run(at + stop, soon())
                assert access.register(result) == 40 + stop // 2
                assert access.register("pc") == at + stop
        at = board.memory("ram").origin + 0x100
        access.reset()
        assert access.register("pc") != at + 4
        assert access.read(at, len(count)) == count
        # What was translated for the old code must not run again.
        access.write(at, count[2:])
        access.set_register(result, 40)
        access.set_register("pc", at)
        access.run(at + 4, soon())
        assert access.register(result) == 42
    finally:
        access.close()
        access.close()


def test_large_and_odd_pieces_of_memory(access: GdbAccess, ram: int) -> None:
    data = os.urandom(100_001)
    access.write(ram + 3, data)
    assert access.read(ram + 3, len(data)) == data
    access.write(ram + 5, b"\x11")
    assert access.read(ram + 4, 3) == data[1:2] + b"\x11" + data[3:4]


def test_memory_that_is_not_there_is_refused(access: GdbAccess) -> None:
    with pytest.raises(AccessFaultError) as error:
        access.read(0x9000_0000, 4)
    assert str(error.value) == (
        "mps2_an386: memory cannot be read: 4 bytes at 0x90000000; found error E14"
    )
    with pytest.raises(AccessFaultError, match="mps2_an386: memory cannot be read: 1 bytes at"):
        access.write(0x9000_0000, b"1234")


def test_a_deadline_halts_the_core(access: GdbAccess, ram: int) -> None:
    access.write(ram, ARM_COUNT)
    access.set_register("pc", ram + 6)  # its loop, so that it does not matter how far it gets
    with pytest.raises(DeviceTimeoutError) as error:
        access.run(ram + 0x100, time.monotonic() + 0.1)
    assert str(error.value) == (
        "mps2_an386: the core did not get where it was to stop in time; expected pc 0x20000100; "
        "found pc 0x20000006; hint: an endless loop, a fault, or too short a time"
    )
    access.set_register("pc", ram)
    access.run(ram + 6, soon())


def test_a_core_that_locks_up_says_so_and_reset_starts_anew(access: GdbAccess, ram: int) -> None:
    access.write(ram, UNDEFINED)
    access.set_register("pc", ram)
    with pytest.raises(StreamClosedError, match="signal SIGABRT, qemu: fatal: Lockup"):
        access.run(ram + 2, soon())
    with pytest.raises(StreamClosedError):
        access.read(ram, 4)
    access.reset()
    access.write(ram, ARM_COUNT)
    access.set_register("pc", ram)
    access.run(ram + 6, soon())


def test_a_killed_qemu_is_a_named_error(access: GdbAccess, ram: int) -> None:
    access.write(ram, ARM_COUNT)
    access.set_register("pc", ram)
    pid = qemu_pid()
    killer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(StreamClosedError) as error:
        access.run(ram + 0x100, soon())
    killer.join()
    assert str(error.value) == ("qemu-system-arm: the program has ended; found signal SIGKILL")
    assert not running(pid)


def test_a_stopped_qemu_meets_the_deadline(
    access: GdbAccess, ram: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    access.write(ram, ARM_COUNT)
    access.set_register("pc", ram)
    pid = qemu_pid()
    resume = access._remote.resume

    def resume_and_stop() -> None:
        resume()
        os.kill(pid, signal.SIGSTOP)

    monkeypatch.setattr(access._remote, "resume", resume_and_stop)
    monkeypatch.setattr(memory_gdb, "HALT_SECONDS", 0.2)
    with pytest.raises(DeviceTimeoutError, match="mps2_an386: the core cannot be halted; hint"):
        access.run(ram + 0x100, time.monotonic() + 0.2)
    assert not running(pid)


def test_a_server_on_a_port(ram: int) -> None:
    qemu = needs_qemu(load_board("mps2_an386"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        # QEMU takes the socket that listens already, so that no other can get its port.
        process = subprocess.Popen(
            [
                *(qemu, "-M", "mps2-an386", "-display", "none", "-monitor", "none", "-S"),
                *("-serial", "none", "-gdb", "chardev:gdb", "-chardev"),
                f"socket,id=gdb,fd={listener.fileno()},server=on,wait=off",
            ],
            pass_fds=(listener.fileno(),),
        )
        try:
            access = connect_gdb("127.0.0.1", listener.getsockname()[1])
            access.write(ram, ARM_COUNT)
            access.set_register("pc", ram)
            access.run(ram + 6, soon())
            access.reset()
            assert access.register("pc") == 0
            process.kill()
            process.wait()
            with pytest.raises(StreamClosedError, match=r"127\.0\.0\.1:\d+: the stream has ended"):
                access.read(ram, 4)
            access.close()
        finally:
            process.kill()
            process.wait()


def test_nobody_at_the_port() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(DeviceError) as error:
            connect_gdb("127.0.0.1", port)
    assert str(error.value) == (
        f"127.0.0.1:{port}: there is no connection to the GDB server; found Connection refused; "
        "hint: does it run, and does it listen there?"
    )
    with pytest.raises(DeviceError, match="no connection to the GDB server; found"):
        connect_gdb("127.0.0.1", 1 << 20)


def test_another_kind_of_server_at_the_port() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            # The client may be gone with our last words on their way.
            with connection, contextlib.suppress(ConnectionError):
                while connection.recv(1000):
                    connection.sendall(b"+" + frame(b"220 mail"))

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ProtocolError, match="answers what makes no sense; expected why"):
            connect_gdb("127.0.0.1", listener.getsockname()[1])
        thread.join()
