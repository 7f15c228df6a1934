"""The ways to a device: their names, what they reach, and how a session over them is opened.

In: a name as a person types it (``serial:/dev/ttyACM0``), the board, and the program that was built
for it. Out: a ``Session``. ``TRANSPORTS`` is the table of all; a new one is a function here and a
line there. Nothing here knows about networks.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from utvm.device.memory_access import ARM, RISCV, MemoryAccess
from utvm.device.memory_emulator import EmulatorAccess
from utvm.device.memory_gdb import connect_gdb, open_qemu_access
from utvm.device.memory_openocd import open_openocd
from utvm.device.memory_program import free_memory, read_memory_program
from utvm.device.memory_pyocd import PyOcdAccess
from utvm.device.memory_session import MemorySession
from utvm.device.rpc_client import RpcSession
from utvm.device.rpc_program import connect, has_rpc_server
from utvm.device.session import Session
from utvm.device.stream import ByteStream
from utvm.device.stream_serial import DEFAULT_BAUD, open_serial
from utvm.device.stream_tcp import connect_tcp
from utvm.support.errors import InputError, UnsupportedError
from utvm.support.text import printable
from utvm.target.board import Board
from utvm.target.target import Target

CALL_SECONDS = 600.0  # for one call; a whole network may be one
_OPEN_SECONDS = 20.0  # for the first answer
STANDALONE, SERVER, RAM, ELSEWHERE = "standalone", "server", "ram", "elsewhere"
"""The programs: reads its inputs itself; an RPC server; in RAM, for a debugger; on the device."""


@dataclass(frozen=True)
class Transport:
    """A way to a device; what stands behind the colon is its ``argument``."""

    name: str
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.argument}" if self.argument else self.name

    @property
    def program(self) -> str:
        """Which kind of program it needs: one of those above."""
        return TRANSPORTS[self.name].program


ALONE = Transport("semihosting")


@dataclass(frozen=True)
class Endpoint:
    """A device to open a session with. ``program`` is None where it is on the device already."""

    board: Board
    target: Target
    argument: str
    program: Path | None

    @property
    def file(self) -> Path:
        assert self.program is not None, "the transport needs a program"
        return self.program


@dataclass(frozen=True)
class Kind:
    """``runs`` are the kinds of boards that it reaches, with and without an argument.

    ``argument`` is how it is written; empty: there is none.
    """

    program: str
    runs: tuple[str, ...]
    meaning: str
    argument: str = ""
    runs_with_argument: tuple[str, ...] = ()
    open: Callable[[Endpoint], Session] | None = None


def open_session(transport: Transport, endpoint: Endpoint) -> Session:
    """A session with the device; the caller closes it."""
    opener = TRANSPORTS[transport.name].open
    assert opener is not None, transport
    return opener(endpoint)


def parse_transport(text: str) -> Transport:
    """What a person typed, or InputError."""
    name, colon, argument = text.partition(":")
    kind = TRANSPORTS.get(name)
    if kind is None:
        raise InputError(
            f"unknown transport '{printable(text)}'", expected=f"one of {', '.join(usages())}"
        )
    needs = kind.runs == () and not argument
    if needs or (colon and not argument) or (argument and not kind.argument):
        raise InputError(
            f"transport '{printable(text)}' is incomplete"
            if needs or not argument
            else f"transport '{name}' takes no argument",
            expected=usage(name),
            found=printable(text),
        )
    return Transport(name, argument)


def usage(name: str) -> str:
    """How a transport is written."""
    kind = TRANSPORTS[name]
    if not kind.argument:
        return name
    return f"{name}[:{kind.argument}]" if kind.runs else f"{name}:{kind.argument}"


def usages() -> list[str]:
    return [usage(name) for name in TRANSPORTS]


def default_transport(board: Board, executor: str) -> Transport:
    """The one for a board when none is named; a board that none reaches is refused."""
    if board.run == "probe":
        return _probe_transport(board)
    if executor != "host":
        return ALONE
    if board.run == "emulator":
        return Transport("memory")
    if has_rpc_server(board):
        return Transport("process" if board.run == "host" else "uart")
    return Transport("gdb")


def _probe_transport(board: Board) -> Transport:
    if board.debug.openocd and (shutil.which("openocd") or not board.debug.pyocd):
        return Transport("openocd")
    if board.debug.pyocd:
        return Transport("pyocd")
    raise UnsupportedError(
        "there is no transport to this board yet",
        where=board.name,
        expected="the table [debug] in its board.toml, or --transport",
        hint=f"build it with utvm compile MODEL --board {board.name} -o OUT and make -C OUT, then "
        + flash_line(board, "OUT/standalone/model.elf"),
    )


def flash_line(board: Board, elf: str) -> str:
    """The command that writes the program ``elf`` to the board."""
    return shlex.join(part.replace("{elf}", elf) for part in board.flash_command)


def check_transport(transport: Transport, board: Board, executor: str) -> None:
    """Refuses a pair that cannot be, before anything is compiled."""
    kind = TRANSPORTS[transport.name]
    reached = kind.runs_with_argument if transport.argument else kind.runs
    if board.run not in reached:
        others = [usage(name) for name, k in TRANSPORTS.items() if _reaches(k, board)]
        raise InputError(
            f"transport '{transport.name}' does not reach this board",
            where=board.name,
            expected=f"one of {', '.join(others)}",
        )
    if kind.program == STANDALONE and executor == "host":
        raise InputError(
            f"executor 'host' calls kernels one by one, which '{transport.name}' cannot",
            expected="a transport with sessions, such as "
            + str(default_transport(board, executor)),
        )


def _reaches(kind: Kind, board: Board) -> bool:
    return board.run in (*kind.runs, *kind.runs_with_argument)


def host_and_port(text: str, *, what: str = "address") -> tuple[str, int]:
    """``HOST:PORT``, where an IPv6 address stands in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(
            f"this is no {what}", expected="HOST:PORT", found=printable(text) or "nothing"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def open_stream(transport: Transport, endpoint: Endpoint) -> ByteStream:
    """The bytes of a transport that carries RPC."""
    if transport.name == "serial":
        return _serial_stream(endpoint)
    if transport.name == "tcp":
        return connect_tcp(*host_and_port(transport.argument))
    return connect(endpoint.file, endpoint.board)


def rpc_session(stream: ByteStream) -> RpcSession:
    """A session that gives a whole network the time to run; opening it must not take long."""
    session = RpcSession(stream, timeout_seconds=_OPEN_SECONDS)
    session.timeout_seconds = CALL_SECONDS
    return session


def _rpc(name: str) -> Callable[[Endpoint], Session]:
    def opened(endpoint: Endpoint) -> Session:
        return rpc_session(open_stream(Transport(name, endpoint.argument), endpoint))

    return opened


def _serial_stream(endpoint: Endpoint) -> ByteStream:
    """``PORT`` or ``PORT:BAUD``; ports have names with colons, too."""
    port, _, speed = endpoint.argument.rpartition(":")
    if port and speed.isdecimal() and not Path(endpoint.argument).exists():
        return open_serial(port, int(speed))
    uart = endpoint.board.uart
    return open_serial(endpoint.argument, uart.baud if uart else DEFAULT_BAUD)


def _memory(open_access: Callable[[Endpoint], MemoryAccess]) -> Callable[[Endpoint], Session]:
    """A session over memory access; the program is written to RAM when it begins."""

    def opened(endpoint: Endpoint) -> Session:
        board = endpoint.board
        image = read_memory_program(endpoint.file, board)
        return MemorySession(
            open_access(endpoint),
            image,
            free_memory(image, board),
            convention=RISCV if endpoint.target.arch.startswith("rv") else ARM,
            clock_hz=board.clock_hz,
            timeout_seconds=CALL_SECONDS,
        )

    return opened


def _gdb_access(endpoint: Endpoint) -> MemoryAccess:
    if endpoint.argument:
        return connect_gdb(*host_and_port(endpoint.argument))
    return open_qemu_access(endpoint.board, endpoint.target)


def _pyocd_access(endpoint: Endpoint) -> MemoryAccess:
    board = endpoint.board
    return PyOcdAccess(board.debug.pyocd or "cortex_m", probe=endpoint.argument, name=board.name)


_ON_DEVICE = ("emulator", "qemu", "probe", "host")

TRANSPORTS = {
    "semihosting": Kind(
        STANDALONE, ("emulator", "qemu", "host"), "the program reads and writes files"
    ),
    "uart": Kind(
        SERVER, ("emulator", "qemu"), "RPC over the UART of an emulated board", open=_rpc("uart")
    ),
    "process": Kind(
        SERVER, ("host",), "RPC over the pipes of a native program", open=_rpc("process")
    ),
    "memory": Kind(
        RAM,
        ("emulator",),
        "the emulated core's memory, in this process",
        open=_memory(lambda endpoint: EmulatorAccess(endpoint.target, endpoint.board)),
    ),
    "gdb": Kind(
        RAM,
        ("qemu",),
        "memory through QEMU's GDB stub, or through any GDB server",
        "HOST:PORT",
        ("qemu", "probe", "emulator"),
        _memory(_gdb_access),
    ),
    "openocd": Kind(
        RAM,
        ("probe",),
        "memory through OpenOCD and the board's probe",
        open=_memory(lambda endpoint: open_openocd(endpoint.board)),
    ),
    "pyocd": Kind(
        RAM,
        ("probe",),
        "memory through pyOCD and the board's probe",
        "PROBE",
        ("probe",),
        _memory(_pyocd_access),
    ),
    "serial": Kind(
        ELSEWHERE,
        (),
        "RPC over a serial port of this computer",
        "PORT[:BAUD]",
        _ON_DEVICE,
        _rpc("serial"),
    ),
    "tcp": Kind(
        ELSEWHERE, (), "RPC to a board behind utvm rpc serve", "HOST:PORT", _ON_DEVICE, _rpc("tcp")
    ),
}
"""By name. Board.run says what kind of board it is."""
