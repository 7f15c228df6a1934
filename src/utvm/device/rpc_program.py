"""Which files of the C runtime an RPC server is linked from, and how to reach it when it runs.

In: a board. Out: sources, and a ``ByteStream`` to a program that was built of them: a native one in
a subprocess, else over the UART of the emulator or of QEMU, whichever runs the board. QEMU's end of
the UART is a pipe, a socket or a pseudo-terminal. Boards whose data names no driver for their UART
are refused with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from utvm.device.crt import CRT, GRAPH_EXECUTOR
from utvm.device.elf import read_elf
from utvm.device.stream import ByteStream
from utvm.device.stream_emulator import EmulatorStream
from utvm.device.stream_process import ProcessStream
from utvm.device.stream_qemu import Uart, open_qemu_stream
from utvm.support.errors import UnsupportedError
from utvm.target.board import UART_DRIVERS, Board
from utvm.target.target import load_target

SERVER = ("rpc_commands", "rpc_frame", "rpc_server", "rpc_status")
"""The runtime's files that are the RPC server."""
_SMALL_RAM_BYTES = 64 << 10


@dataclass(frozen=True)
class ServerLimits:
    """What a server gets of a board's memory besides tensors: twice the payload, and blocks."""

    payload_bytes: int
    blocks: int


def server_limits(board: Board) -> ServerLimits:
    """Large frames save round trips; a board with little memory gets small ones."""
    if board.memories and board.memory("ram").size_bytes < _SMALL_RAM_BYTES:
        return ServerLimits(payload_bytes=256, blocks=8)
    return ServerLimits(payload_bytes=1024, blocks=32)


def has_rpc_server(board: Board) -> bool:
    """Whether ``rpc_sources`` has something for the board."""
    return board.run == "host" or (
        board.uart is not None
        and board.uart.driver != ""
        and (CRT / "port" / f"{board.port}_rpc").is_dir()
    )


def rpc_sources(board: Board) -> list[Path]:
    """The runtime's sources for an RPC server on ``board``, in link order."""
    shared = [CRT / "src" / f"{name}.c" for name in ("math", *GRAPH_EXECUTOR, *SERVER)]
    port = CRT / "port"
    if board.run == "host":
        return [port / "host" / "platform.c", port / "host_rpc" / "rpc_port.c", *shared]
    if not has_rpc_server(board):
        raise UnsupportedError(
            "there is no RPC server for this board",
            where=board.name,
            expected="a driver for its UART: field 'driver' in [uart] of its board.toml",
        )
    assert board.uart is not None
    return [
        port / board.port / "startup.c",
        port / f"{board.port}_rpc" / "rpc_core.c",
        port / "rpc" / "rpc_port.c",
        UART_DRIVERS / f"{board.uart.driver}.c",
        *shared,
        CRT / "src" / "mem.c",
    ]


def connect(program: Path, board: Board, uart: Uart = Uart.PIPE) -> ByteStream:
    """Starts ``program`` and gives the stream to it; ``uart`` is what QEMU's UART is joined to."""
    if board.run == "host":
        return ProcessStream([str(program.resolve())])
    target = load_target(board.target)
    if board.run == "emulator":
        return EmulatorStream(read_elf(program), target, board)
    if board.run == "qemu":
        return open_qemu_stream(program, board, target, uart)
    raise UnsupportedError(
        "programs for this board cannot be started from here",
        where=board.name,
        hint="flash the program, then open its serial port",
    )
