"""Running a linked program on a board that QEMU emulates.

In: a program, its board and target, and the input stream. Out: the output stream and what was
said on the console. Streams and console go through semihosting, in a private folder. A fault, a
lock-up, an exit status, a QEMU that dies or a program that does not end is a ``DeviceError``; a
QEMU that is not installed is a ``ToolchainError``. QEMU never outlives the call. For debuggers the
same machine starts halted, and listens on a socket.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from utvm.device.child import Child, end_child, start_child
from utvm.device.elf import ElfImage
from utvm.support.errors import DeviceError, ToolchainError
from utvm.support.interrupts import interrupts_held
from utvm.support.text import printable
from utvm.target.board import Board
from utvm.target.target import Target

_EXIT_FAULT = 70  # how the start-up code of a port ends the program after a fault
_FAULT = re.compile(r"utvm: fault(?P<overflow>: stack overflow)?(?: at pc 0x(?P<pc>[0-9a-f]{8}))?")
_CONSOLE_BYTES = 64 << 10  # the end is kept: errors come last
_OUTPUT_BYTES = 1 << 30
_LOOK_SECONDS = 0.5  # how soon an interrupt is noticed


@dataclass(frozen=True)
class QemuResult:
    """A finished run that ended with status 0."""

    output: bytes
    console: str


def find_qemu(target: Target) -> str:
    """The QEMU program that emulates processors like ``target``."""
    name, package = qemu_program(target)
    found = shutil.which(name)
    if found is None:
        raise ToolchainError(f"{name} is not installed", hint=f"apt install {package}")
    return found


def qemu_program(target: Target) -> tuple[str, str]:
    """The name of the program, and of the Debian package that has it."""
    if target.arch.startswith("rv32"):
        return "qemu-system-riscv32", "qemu-system-misc"
    return "qemu-system-arm", "qemu-system-arm"


def run_qemu(
    image: ElfImage, board: Board, target: Target, stream: bytes, *, timeout_seconds: float = 600
) -> QemuResult:
    """Runs ``image`` on the board's machine from reset until it exits by semihosting."""
    machine = emulated_machine(board, target)
    with tempfile.TemporaryDirectory(prefix="utvm-qemu-") as scratch:
        folder = Path(scratch)
        (folder / "utvm_in.bin").write_bytes(stream)
        command = _command(machine, image)
        with _started(command, folder, board) as process:
            console = _follow(process, board, timeout_seconds)
        if process.returncode != 0:
            raise _failure(process.returncode, console, image, board)
        output = folder / "utvm_out.bin"
        return QemuResult(output.read_bytes() if output.exists() else b"", console)


def emulated_machine(board: Board, target: Target) -> list[str]:
    """QEMU and its arguments for the machine of ``board``; a program and its streams are to follow.

    Its time is that of the instructions done, about one in a cycle of the board: counters and
    watchdogs do not depend on how busy the host is (QEMU's manual, "TCG Instruction Counting").
    """
    shift = round(math.log2(1e9 / board.clock_hz))  # an instruction takes 2**shift ns
    machine = [find_qemu(target), "-M", board.qemu_machine, *board.qemu_arguments]
    return [*machine, "-icount", f"shift={shift}"]


def _command(machine: list[str], image: ElfImage) -> list[str]:
    return [
        *machine,
        *("-nographic", "-monitor", "none", "-serial", "none"),
        *("-semihosting-config", "enable=on,target=native"),
        *("-kernel", str(image.path.resolve())),
    ]


@contextmanager
def halted_qemu(
    image: ElfImage, board: Board, target: Target, folder: Path, console: IO[bytes] | None
) -> Iterator[Child]:
    """``image`` before its first instruction; its GDB stub listens at ``gdb.sock`` in ``folder``.

    Semihosting works in ``folder``. What the program says goes to ``console``, or to where our own
    output goes. QEMU ends with the block.
    """
    path = folder / "gdb.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        # QEMU gets a socket that listens already: who connects at once is not too early.
        stub = f"socket,id=gdb,fd={listener.fileno()},server=on,wait=off"
        command = [
            *_command(emulated_machine(board, target), image),
            *("-S", "-chardev", stub, "-gdb", "chardev:gdb"),
        ]
        with interrupts_held() as release:
            try:
                process = start_child(
                    command,
                    folder=folder,
                    stdout=console,
                    stderr=console,
                    inherited=(listener.fileno(),),
                )
            except OSError as error:
                raise _cannot_start(error, board) from error
            try:
                listener.close()
                release()
                yield process
            finally:
                end_child(process)


def _cannot_start(error: OSError, board: Board) -> DeviceError:
    return DeviceError("QEMU cannot be started", where=board.name, found=error.strerror or "")


@contextmanager
def _started(command: list[str], folder: Path, board: Board) -> Iterator[Child]:
    """QEMU as a process group of its own, which is gone when the block is left."""
    with interrupts_held() as release:
        try:
            process = start_child(
                command, folder=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise _cannot_start(error, board) from error
        try:
            release()
            _limit_files(process.pid)
            yield process
        finally:
            end_child(process)


def _limit_files(pid: int) -> None:
    """A program can't fill the disk: the system ends what writes more."""
    if sys.platform != "linux":
        return
    import resource  # of this system only

    # A process that has ended needs no limit; one that the system holds to less keeps that.
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    limit = _OUTPUT_BYTES if hard == resource.RLIM_INFINITY else min(_OUTPUT_BYTES, hard)
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, limit))


def _follow(process: Child, board: Board, timeout_seconds: float) -> str:
    """The end of what the process says, once it has ended."""
    assert process.stdout is not None
    deadline = time.monotonic() + timeout_seconds
    said = bytearray()
    try:
        while True:
            left = max(0.0, deadline - time.monotonic())
            # An interrupt just before a wait is only heard when that ends.
            if not select.select([process.stdout], [], [], min(left, _LOOK_SECONDS))[0]:
                if left > 0.0:
                    continue
                raise subprocess.TimeoutExpired(process.args, timeout_seconds)
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                break
            said += data
            del said[:-_CONSOLE_BYTES]
            if left == 0.0:
                raise subprocess.TimeoutExpired(process.args, timeout_seconds)
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"the program did not end within {timeout_seconds:g} s",
            where=board.name,
            found=_last_line(said.decode("utf-8", "replace")),
            hint="an endless loop, or too slow for QEMU on this machine",
        ) from error
    return said.decode("utf-8", "replace")


def _failure(status: int, console: str, image: ElfImage, board: Board) -> DeviceError:
    """Why QEMU ended otherwise than with status 0."""
    found = _last_line(console)
    if "Lockup" in console:
        return DeviceError(
            "the processor locked up",
            where=board.name,
            found=_last_line(console, containing="Lockup"),
            hint="a fault within a fault, or no vector table where the board looks for it",
        )
    if status < 0:
        return DeviceError(
            f"QEMU died of signal {_signal_name(-status)}",
            where=board.name,
            found=found,
            hint="something else ended it, or it is out of memory",
        )
    fault = _FAULT.search(console)
    if status == _EXIT_FAULT and fault is not None:
        return _fault(fault, image, board, found)
    return DeviceError(f"the program exited with status {status}", where=board.name, found=found)


def _fault(fault: re.Match[str], image: ElfImage, board: Board, found: str) -> DeviceError:
    if fault["overflow"]:
        return DeviceError(
            "the stack overflows",
            where=board.name,
            expected=f"at most {board.stack_bytes} bytes of stack",
            hint="give the program a larger stack, or look for endless recursion",
        )
    where = board.name
    if fault["pc"]:
        address = int(fault["pc"], 16)
        where += f": pc {address:#010x} ({image.function_at(address)})"
    return DeviceError("the program faulted", where=where, found=found, hint="look at the code")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _last_line(console: str, containing: str = "") -> str:
    lines = [line for line in console.splitlines() if line.strip() and containing in line]
    return printable(lines[-1], 200) if lines else ""
