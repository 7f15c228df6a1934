"""What ``utvm debug`` does: build with symbols, start halted on QEMU, hand over to gdb.

In: a ``DebugRequest``. Out: a ``DebugPlan``, which says what is run with what; then either gdb at
the user's terminal, or its output when it works off commands without anybody. The program is the
one that ``utvm run`` runs: the same optimization, so the same code; only the ELF file tells more.
Files are in a folder that the caller owns; QEMU and gdb end before these functions do.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np

from utvm.codegen.c_module import kernel_symbol
from utvm.device.child import Child, end_child, start_child
from utvm.device.crt import CRT
from utvm.device.elf import ElfImage
from utvm.device.qemu import find_qemu, halted_qemu
from utvm.device.toolchain import Toolchain
from utvm.driver.build import Build, build_graph, input_values
from utvm.driver.load import import_model, load_model
from utvm.driver.options import BuildOptions, resolve_options
from utvm.driver.tensors import Rows, random_inputs, read_inputs
from utvm.support.errors import DeviceError, InputError, ToolchainError, UnsupportedError
from utvm.support.interrupts import interrupts_held
from utvm.support.text import printable
from utvm.target.board import Board, list_boards, load_board
from utvm.target.names import unknown_name
from utvm.target.target import Target, load_target

SCRIPT = "utvm.gdb"
CONSOLE = "console.txt"
BATCH_SECONDS = 120.0
_ANSWER_SECONDS = 60  # of QEMU's; gdb's own 2 s are too few where a computer is busy
_EXIT_SECONDS = 10.0  # for QEMU to end behind its connection
# At its end gdb would let the program run on. (It may trip over what "kill" makes of QEMU.)
_END = ("if $_isvoid($_exitcode)", "disconnect", "end")
# A program that ends takes QEMU along, sometimes before gdb has said thanks for the news.
_LOST = "Remote communication error"
_EXITED = "[Inferior 1 (process 1) exited normally]\n"
_DISCARDED = "*(.debug_*)"  # what the linker scripts throw away
_NO_ORPHANS = "--orphan-handling=error"


@dataclass(frozen=True)
class DebugRequest:
    """What to debug. ``operator`` is a name as ``utvm run`` prints it, or None for the first."""

    model: Path
    options: BuildOptions
    params: Path | None = None
    inputs: Path | None = None
    operator: str | None = None
    gdb: str | None = None


@dataclass(frozen=True, eq=False)
class DebugPlan:
    """A built program, and how gdb gets at it. ``sources`` are the folders with its sources."""

    build: Build
    image: ElfImage
    operator: str
    symbol: str
    gdb: str
    sources: tuple[Path, ...]
    folder: Path

    @property
    def commands(self) -> list[str]:
        """What gdb does first; the socket is the one that ``halted_qemu`` makes."""
        return [
            "set confirm off",
            f"set remotetimeout {_ANSWER_SECONDS}",
            f"target remote {self.folder / 'gdb.sock'}",
            f"break {self.symbol}",
            "continue",
        ]

    def gdb_command(self, *options: str) -> list[str]:
        """gdb with the program, its sources and the commands."""
        folders = [part for folder in self.sources for part in ("-d", str(folder))]
        script = str(self.folder / SCRIPT)
        return [self.gdb, "-q", *options, *folders, "-x", script, str(self.image.path)]


@dataclass(frozen=True)
class DebugOutput:
    """What gdb said, and what the program said meanwhile."""

    gdb: str
    console: str


def resolve_debug_options(
    target: str | None, board: str | None, executor: str, toolchain: str | None
) -> BuildOptions:
    """A target without a board is debugged on the QEMU board with this core."""
    options = resolve_options(target, board, executor, toolchain)
    if options.board.run == "qemu":
        return options
    names = _boards_like(options.target)
    if board is None and names:
        return replace(options, board=load_board(names[0]))
    same = f"--board {names[0]} has the same core" if names else ""
    others = [name for name in list_boards() if load_board(name).run == "qemu"]
    raise UnsupportedError(
        "debugging needs a board that QEMU emulates",
        where=options.board.name,
        hint=same or f"none has the same core; there are {', '.join(others)}",
    )


def _boards_like(target: Target) -> list[str]:
    boards = map(load_board, list_boards())
    return [board.name for board in boards if board.run == "qemu" and board.target == target.name]


def plan_debug(
    request: DebugRequest, folder: Path, notify: Callable[[str], None] = lambda text: None
) -> DebugPlan:
    """Builds the program in ``folder`` and finds everything that is needed to debug it."""
    options = request.options
    find_qemu(options.target)
    gdb = find_gdb(request.gdb, options.target)
    notify("reading the model")
    graph = import_model(model := load_model(request.model, request.params))
    values = input_values(graph)
    inputs = (
        random_inputs(values) if request.inputs is None else read_inputs(request.inputs, values)
    )
    notify(f"compiling for {options.target.name}")
    with_symbols = replace(options, toolchain=_WithSymbols(options.toolchain, folder))
    build = build_graph(model, graph, with_symbols, folder)
    assert build.image is not None
    name = _operator(build, request.operator)
    plan = DebugPlan(
        build,
        build.image,
        name,
        kernel_symbol(build.compiled.module, name),
        gdb,
        (folder, *_runtime_folders(options.board)),
        folder,
    )
    (folder / "utvm_in.bin").write_bytes(_stream(inputs))
    (folder / SCRIPT).write_text("\n".join([*plan.commands, ""]), encoding="utf-8")
    return plan


def find_gdb(name: str | None, target: Target) -> str:
    """The gdb called ``name``, else one for processors like ``target``."""
    own = target.gcc_program.removesuffix("gcc") + "gdb"
    for program in [name] if name else ["gdb-multiarch", own]:
        found = shutil.which(program)
        if found is not None:
            return found
    raise ToolchainError(
        f"no program '{printable(name)}' is installed"
        if name
        else "no gdb for the board's processor is installed",
        expected="" if name else f"gdb-multiarch or {own}",
        hint="apt install gdb-multiarch",
    )


def _operator(build: Build, wanted: str | None) -> str:
    """The name of the operator to stop at."""
    names = [function.name for function in build.compiled.module.functions]
    if not names:
        raise InputError("the model has no operators", where=str(build.model.path))
    if wanted is None:
        return names[0]
    if wanted not in names:
        raise unknown_name("operator", wanted, names)
    return wanted


def _runtime_folders(board: Board) -> list[Path]:
    return [CRT / "src", CRT / "include", CRT / "port" / board.port]


def _stream(inputs: Rows) -> bytes:
    """All rows, as the program reads them."""
    little = [array.astype(array.dtype.newbyteorder("<"), copy=False) for array in inputs]
    rows = range(len(little[0]))
    return b"".join(np.ascontiguousarray(array[row]).tobytes() for row in rows for array in little)


def run_terminal(plan: DebugPlan) -> int:
    """gdb at the user's terminal until the user leaves it; its exit status."""
    with _qemu(plan, None), _interrupts_are_for_gdb():
        child = start_child(
            plan.gdb_command(), stdin=None, stdout=None, stderr=None, own_group=False
        )
        try:
            return child.wait()
        finally:
            end_child(child)


def run_batch(
    plan: DebugPlan, script: Sequence[str], timeout_seconds: float = BATCH_SECONDS
) -> DebugOutput:
    """gdb stops at the operator, then works off ``script``, and ends. Nobody is asked anything."""
    file = plan.folder / "script.gdb"
    file.write_text("\n".join([*script, *_END, ""]), encoding="utf-8")
    console = plan.folder / CONSOLE
    command = [*plan.gdb_command("-nx", "-batch"), "-x", str(file)]
    with console.open("wb") as said, _qemu(plan, said) as qemu, interrupts_held() as release:
        child = start_child(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            release()
            text = child.communicate(timeout=timeout_seconds)[0].decode("utf-8", "replace")
            lost = _LOST in _telling_line(text) and _has_ended(qemu)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"gdb did not end within {timeout_seconds:g} s",
                where=plan.build.options.board.name,
                hint="does the script wait for something that never happens?",
            ) from error
        finally:
            end_child(child)
    if lost:
        text += _EXITED
    elif child.returncode != 0:
        raise DeviceError(
            f"gdb ended with status {child.returncode}",
            where=plan.build.options.board.name,
            found=printable(_telling_line(text), 200),
        )
    return DebugOutput(text, console.read_text("utf-8", "replace"))


def _has_ended(qemu: Child) -> bool:
    """Whether the program came to its end, and QEMU with it."""
    try:
        return qemu.wait(timeout=_EXIT_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return False


def _telling_line(text: str) -> str:
    """What was wrong with a script, else the last line; gdb says more behind the former."""
    lines = [line for line in text.splitlines() if line.strip()]
    for before, line in pairwise(lines):
        if before.endswith("Error in sourced command file:"):
            return line
    return lines[-1] if lines else ""


@contextmanager
def _qemu(plan: DebugPlan, console: IO[bytes] | None) -> Iterator[Child]:
    options = plan.build.options
    target = load_target(options.board.target)
    with halted_qemu(plan.image, options.board, target, plan.folder, console) as qemu:
        yield qemu


@contextmanager
def _interrupts_are_for_gdb() -> Iterator[None]:
    """Ctrl-C reaches all programs at the terminal; here it means the one in gdb."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class _WithSymbols:
    """A toolchain whose programs keep debug information. See ``Toolchain``.

    The ports' linker scripts throw it away; a changed copy of them in ``folder`` does not.
    """

    toolchain: Toolchain
    folder: Path

    @property
    def name(self) -> str:
        return self.toolchain.name

    def version(self) -> str:
        return self.toolchain.version()

    def environment(self, scratch: Path) -> Mapping[str, str]:
        return self.toolchain.environment(scratch)

    def compile_command(
        self, target: Target, source: Path, out: str, include_dirs: Sequence[Path], optimize: str
    ) -> list[str]:
        command = self.toolchain.compile_command(target, source, out, include_dirs, optimize)
        return [*command, "-g"]  # behind -g0: the last one counts

    def link_command(
        self,
        target: Target,
        objects: Sequence[str],
        script: Path | None,
        out: str,
        map_file: str,
        resident: Path | None = None,
    ) -> list[str]:
        assert script is not None and resident is None  # programs for QEMU that run alone
        changed = self.folder / script.name
        changed.write_text(script.read_text("utf-8").replace(_DISCARDED, ""), encoding="utf-8")
        command = self.toolchain.link_command(target, objects, changed, out, map_file)
        # Debug sections have no place in the script.
        return [part for part in command if _NO_ORPHANS not in part]
