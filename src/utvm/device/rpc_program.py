"""Which files of the C runtime an RPC server is linked from, and how to reach it when it runs.

In: a board. Out: sources, and a ``ByteStream`` to a program that was built of them: a native one in
a subprocess, else over the UART of the emulator or of QEMU, whichever runs the board. Boards
without such a port are refused with a reason.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from utvm.device.crt import CRT
from utvm.device.elf import read_elf
from utvm.device.stream import ByteStream
from utvm.device.stream_emulator import EmulatorStream
from utvm.device.stream_process import ProcessStream
from utvm.support.errors import DeviceError, UnsupportedError
from utvm.target.board import Board
from utvm.target.target import load_target

# By QEMU machine: the port with its UART.
_UART_PORTS = {"mps2-an385": "mps2_uart", "mps2-an386": "mps2_uart", "mps2-an500": "mps2_uart"}


def rpc_sources(board: Board) -> list[Path]:
    """The runtime's sources for an RPC server on ``board``, in link order."""
    shared = [path for path in sorted((CRT / "src").glob("*.c")) if path.stem != "mem"]
    if board.run == "host":
        ports = [CRT / "port" / "host" / "platform.c", CRT / "port" / "host_rpc" / "rpc_port.c"]
        return [*ports, *shared]
    port = _UART_PORTS.get(board.qemu_machine)
    if port is None:
        raise UnsupportedError(
            "there is no RPC server for this board",
            where=board.name,
            expected=f"host, or a board of the machines {', '.join(_UART_PORTS)}",
        )
    ports = [CRT / "port" / "cortex_m" / "startup.c", CRT / "port" / port / "rpc_port.c"]
    return [*ports, *shared, CRT / "src" / "mem.c"]


def connect(program: Path, board: Board) -> ByteStream:
    """Starts ``program`` and gives the stream to it."""
    if board.run == "host":
        return ProcessStream([str(program.resolve())])
    if board.run == "emulator":
        return EmulatorStream(read_elf(program), load_target(board.target), board)
    qemu = shutil.which("qemu-system-arm")
    if qemu is None:
        raise DeviceError(
            "QEMU is not installed", where=board.name, hint="apt install qemu-system-arm"
        )
    return ProcessStream([
        *(qemu, "-M", board.qemu_machine, "-display", "none", "-monitor", "none"),
        *("-chardev", "stdio,id=uart,signal=off", "-serial", "chardev:uart"),
        *("-kernel", str(program.resolve())),
    ])  # fmt: skip
