"""From C sources to a program: compiles in parallel, links for a board, writes the result whole.

In goes C (a model's and the runtime's), a toolchain, a target and a board; out comes an ELF file
for the board, or a native program for the host, with a linker map beside it. The same input gives
the same bytes: objects are named by position, and no path or date gets into them. Objects of the
runtime, which depend on no model, are compiled once and kept in the cache.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from utvm.device.crt import CRT, crt_include_dir
from utvm.device.process import run_tool
from utvm.device.toolchain import Toolchain
from utvm.support.cache import cached_file, publish
from utvm.support.errors import ToolchainError
from utvm.target.board import NO_INTERRUPT, Board
from utvm.target.target import Target


@dataclass(frozen=True)
class Layout:
    """Where a program goes: a linker script, and the text of its ``utvm_memory.ld``."""

    script: Path
    memory: str


@dataclass(frozen=True)
class _Build:
    """What all steps of one build share."""

    toolchain: Toolchain
    target: Target
    scratch: Path
    environment: Mapping[str, str]

    def run(self, command: Sequence[str]) -> None:
        run_tool(command, cwd=self.scratch, env=self.environment)


def build_elf(
    toolchain: Toolchain,
    target: Target,
    board: Board,
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    out: Path,
    *,
    optimize: str = "-O2",
    jobs: int = 2,
    layout: Layout | None = None,
    objects: Sequence[Path] = (),
) -> Path:
    """Build ``sources`` into the program ``out``; the map goes to ``out`` with suffix '.map'.

    ``objects`` are compiled already. Without a ``layout`` it is the board's own: code in flash,
    variables in RAM.
    """
    if board.target != target.name:
        raise ToolchainError(
            f"board '{board.name}' has another processor",
            expected=f"target {board.target}",
            found=target.name,
        )
    with tempfile.TemporaryDirectory(prefix="utvm-build-") as folder:
        scratch = Path(folder)
        build = _Build(toolchain, target, scratch, toolchain.environment(scratch))
        compiled = _compile(build, sources, include_dirs, optimize, jobs)
        every = [*compiled, *(str(path.resolve()) for path in objects)]
        memory = memory_script(board) if layout is None else layout.memory
        script = board.linker_script if layout is None else layout.script
        (scratch / "utvm_memory.ld").write_text(memory, encoding="ascii")
        build.run(toolchain.link_command(target, every, script, "program", "program.map"))
        if (scratch / "program.map").exists():
            publish(scratch / "program.map", out.with_suffix(".map"))
        publish(scratch / "program", out)
    return out


def compile_object(
    toolchain: Toolchain,
    target: Target,
    source: Path,
    include_dirs: Sequence[Path],
    out: Path,
    *,
    optimize: str = "-O2",
) -> Path:
    """Compiles one C source to ``out``, for ``build_elf`` to link."""
    with tempfile.TemporaryDirectory(prefix="utvm-build-") as folder:
        build = _Build(toolchain, target, Path(folder), toolchain.environment(Path(folder)))
        (name,) = _compile(build, [source], include_dirs, optimize, jobs=1)
        publish(Path(folder) / name, out)
    return out


def _compile(
    build: _Build,
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    optimize: str,
    jobs: int,
) -> list[str]:
    """Compile every source; the objects' names depend on nothing but position and file name."""
    include_dirs = [folder.resolve() for folder in include_dirs]

    def compile_one(index: int, source: Path) -> str:
        name = f"{index:03}_{source.stem}.o"
        if source.resolve().is_relative_to(CRT):
            shutil.copyfile(
                _runtime_object(build, source.resolve(), optimize), build.scratch / name
            )
        else:
            command = build.toolchain.compile_command(
                build.target, source.resolve(), name, include_dirs, optimize
            )
            build.run(command)
        return name

    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        return list(pool.map(compile_one, range(len(sources)), sources))


def _runtime_object(build: _Build, source: Path, optimize: str) -> Path:
    """The object of one of the runtime's sources, from the cache."""
    name = f"{source.stem}.o"
    command = build.toolchain.compile_command(
        build.target, source, name, [crt_include_dir()], optimize
    )

    def make(out: Path) -> None:
        run_tool(command, cwd=out.parent, env=build.environment)

    options = [part.replace(str(CRT), "crt") for part in command]
    key = (build.toolchain.version(), *options, source.read_text("utf-8"), *_runtime_headers())
    return cached_file(name, key, make)


@cache
def _runtime_headers() -> tuple[str, ...]:
    """The text of everything that the runtime's sources may include."""
    return tuple(path.read_text("utf-8") for path in sorted(CRT.rglob("*.h")))


def memory_script(board: Board) -> str:
    """The linker script fragment with the board's memories, which its linker script includes."""
    if not board.memories:
        return ""
    lines = ["MEMORY", "{"]
    for memory in board.memories:
        access = "rx" if memory.kind == "flash" else "rwx"
        lines.append(
            f"  {memory.name} ({access}) : "
            f"ORIGIN = {memory.origin:#010x}, LENGTH = {memory.size_bytes:#x}"
        )
    lines.append("}")
    lines += [
        f'REGION_ALIAS("{alias}", {board.memory(kind).name})'
        for alias, kind in (("FLASH", "flash"), ("RAM", "ram"))
    ]
    lines += [f"__utvm_{name} = {value:#x};" for name, value in board_numbers(board).items()]
    return "\n".join(lines) + "\n"


def board_numbers(board: Board) -> dict[str, int]:
    """What C learns about the board: absolute symbols ``__utvm_<name>``, 0 where unknown."""
    uart = board.uart
    return {
        "stack_bytes": board.stack_bytes,
        "clock_hz": board.clock_hz,
        "machine_timer": board.machine_timer,
        "uart_base": uart.base if uart else 0,
        "uart_clock_hz": uart.clock_hz if uart else 0,
        "uart_baud": uart.baud if uart else 0,
        "uart_tx_select": uart.tx_select if uart else 0,
        "uart_rx_select": uart.rx_select if uart else 0,
        "uart_interrupt": uart.interrupt if uart else NO_INTERRUPT,
    }
