"""Boards: a target with memories, a clock and a way to run programs, as data.

In goes the name of a folder in ``boards/``, or the path of a folder elsewhere; out comes a frozen
``Board`` read from its ``board.toml``. A new board is one new folder and edits nothing else. The
memories never overlap; a board with port 'host' has none, because the program is a native one. The
first memory of each kind is the main one, which holds the program.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from utvm.target.fields import Fields, read_fields
from utvm.target.names import unknown_name
from utvm.target.target import list_targets

BOARDS = Path(__file__).parents[1] / "boards"
CRT_PORTS = Path(__file__).parents[1] / "crt" / "port"
UART_DRIVERS = CRT_PORTS / "uart"
NO_INTERRUPT = 0xFFFF

MEMORY_KINDS = ("flash", "ram")
RUN_KINDS = {
    "emulator": "the emulator inside utvm",
    "host": "this computer",
    "qemu": "QEMU, with the machine 'qemu_machine'",
    "probe": "the real board, behind a debug probe",
}
PROBES = ("st-link", "j-link", "cmsis-dap", "usb-jtag")


@dataclass(frozen=True)
class Memory:
    """A memory of the board: addresses ``origin`` to ``origin + size_bytes - 1``."""

    name: str
    kind: str  # one of MEMORY_KINDS
    origin: int
    size_bytes: int
    tightly_coupled: bool = False  # beside the core, without wait states or cache

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.origin + self.size_bytes


@dataclass(frozen=True)
class Uart:
    """The serial port that the board brings out; pins are named as its manual names them."""

    instance: str
    baud: int
    tx: str
    rx: str
    driver: str = ""  # a file of crt/port/uart, without '.c'; empty: there is none for it
    base: int = 0  # address of its registers
    clock_hz: int = 0  # what its divisor divides
    tx_select: int = 0  # for pin selection registers, where the peripheral has such
    rx_select: int = 0
    interrupt: int = NO_INTERRUPT  # of a received byte, as the core counts them


@dataclass(frozen=True)
class Debug:
    """How debuggers reach the board's core; a program that is not named cannot do that."""

    openocd: tuple[str, ...] = ()  # arguments: the probe's and the chip's configuration
    pyocd: str = ""  # pyOCD's name of the chip; one that needs no download


@dataclass(frozen=True)
class Board:
    """What the linker and the runner need to know about a board."""

    name: str
    title: str
    source: str  # where the facts come from
    target: str  # name of the board's target
    port: str  # folder of crt/port with the platform functions
    run: str  # a key of RUN_KINDS
    memories: tuple[Memory, ...]
    clock_hz: int  # the fastest that the source allows; 0: unknown
    stack_bytes: int  # what the linker reserves
    linker_script: Path | None  # None: a native program
    qemu_machine: str  # QEMU machine that runs the same ELF file; empty: none
    qemu_arguments: tuple[str, ...] = ()  # what that machine needs besides
    uart: Uart | None = None
    probe: str = ""  # one of PROBES; empty: no debug probe
    flash_command: tuple[str, ...] = ()  # writes '{elf}' to the board
    debug: Debug = Debug()
    machine_timer: int = 0  # RISC-V: address of the CLINT, which has mtime and mtimecmp; 0: none

    def memory(self, kind: str) -> Memory:
        """The main memory of a kind: the first one listed."""
        return next(memory for memory in self.memories if memory.kind == kind)


def list_boards() -> tuple[str, ...]:
    """The names of all boards that come with utvm, sorted."""
    return tuple(sorted(path.parent.name for path in BOARDS.glob("*/board.toml")))


def load_board(name: str) -> Board:
    """The board called ``name``, or the one in the folder ``name`` when that is a path."""
    known = list_boards()
    if name in known:
        return read_board(BOARDS / name)
    if "/" in name and Path(name).is_dir():
        return read_board(Path(name))
    raise unknown_name("board", name, known)


def read_board(folder: Path) -> Board:
    """The board that ``folder/board.toml`` describes; its name is the folder's name."""
    fields = read_fields(folder / "board.toml")
    port = fields.choice("port", _ports())
    board = Board(
        name=folder.resolve().name,
        title=fields.text("title"),
        source=fields.text("source"),
        target=fields.choice("target", list_targets()),
        port=port,
        run=fields.choice("run", tuple(RUN_KINDS)),
        memories=tuple(_read_memory(table) for table in fields.tables("memory")),
        clock_hz=fields.integer("clock_hz", 0),
        stack_bytes=fields.integer("stack_bytes", 8192, multiple_of=8),
        linker_script=_linker_script(fields, folder, port),
        qemu_machine=fields.text("qemu_machine", ""),
        qemu_arguments=fields.texts("qemu_arguments"),
        uart=_read_uart(fields.optional_table("uart")),
        probe=fields.choice("probe", ("", *PROBES), ""),
        flash_command=fields.texts("flash_command"),
        debug=_read_debug(fields.optional_table("debug")),
        machine_timer=fields.integer("machine_timer", 0, multiple_of=8),
    )
    if board.linker_script is not None:
        _check_memories(fields, board.memories)
    _check_run(fields, board)
    fields.finish()
    return board


def _ports() -> list[str]:
    """The ports that start a program: those with start-up code, and the native one."""
    return sorted([*(path.parent.name for path in CRT_PORTS.glob("*/startup.c")), "host"])


def _read_uart(fields: Fields | None) -> Uart | None:
    if fields is None:
        return None
    drivers = sorted(path.stem for path in UART_DRIVERS.glob("*.c"))
    uart = Uart(
        instance=fields.text("instance"),
        baud=fields.integer("baud"),
        tx=fields.text("tx"),
        rx=fields.text("rx"),
        driver=fields.choice("driver", ("", *drivers), ""),
        base=fields.integer("base", 0, multiple_of=4),
        clock_hz=fields.integer("clock_hz", 0),
        tx_select=fields.integer("tx_select", 0),
        rx_select=fields.integer("rx_select", 0),
        interrupt=fields.integer("interrupt", NO_INTERRUPT),
    )
    if uart.driver and not (uart.base and uart.clock_hz and uart.baud):
        raise fields.error("a driver needs the fields 'base', 'clock_hz' and 'baud'")
    fields.finish()
    return uart


def _read_debug(fields: Fields | None) -> Debug:
    if fields is None:
        return Debug()
    debug = Debug(openocd=fields.texts("openocd"), pyocd=fields.text("pyocd", ""))
    if not debug.openocd and not debug.pyocd:
        raise fields.error("the table is empty", expected="'openocd', 'pyocd' or both")
    fields.finish()
    return debug


def _check_run(fields: Fields, board: Board) -> None:
    """A way to run programs needs what it works with."""
    if board.run == "qemu" and not board.qemu_machine:
        raise fields.error("field 'qemu_machine' is missing: the board runs on QEMU")
    if board.run != "probe":
        return
    if not board.probe:
        raise fields.error("field 'probe' is missing", expected=f"one of {', '.join(PROBES)}")
    if "{elf}" not in " ".join(board.flash_command):
        raise fields.error("the flash command names no program", expected="'{elf}' in an argument")


def _read_memory(fields: Fields) -> Memory:
    name = fields.text("name")
    if not name.isidentifier() or not name.isascii():
        raise fields.error("the name of a memory is no identifier", found=name)
    memory = Memory(
        name=name,
        kind=fields.choice("kind", MEMORY_KINDS),
        origin=fields.integer("origin", multiple_of=8),
        size_bytes=fields.integer("size_bytes", multiple_of=8),
        tightly_coupled=fields.flag("tightly_coupled"),
    )
    fields.finish()
    return memory


def _linker_script(fields: Fields, folder: Path, port: str) -> Path | None:
    """The board's own script when it names one, else the port's; native programs have none."""
    own = fields.text("linker_script", "")
    if not own:
        script = CRT_PORTS / port / "link.ld"
        return script if script.exists() else None
    if not (folder / own).is_file():
        raise fields.error("the linker script does not exist", found=own)
    return folder / own


def _check_memories(fields: Fields, memories: tuple[Memory, ...]) -> None:
    for kind in MEMORY_KINDS:
        if not any(memory.kind == kind for memory in memories):
            raise fields.error(f"the board has no memory of kind '{kind}'")
    if len({memory.name for memory in memories}) != len(memories):
        raise fields.error("two memories have the same name")
    ordered = sorted(memories, key=lambda memory: memory.origin)
    for low, high in pairwise(ordered):
        if low.end > high.origin:
            raise fields.error(f"memories '{low.name}' and '{high.name}' overlap")
