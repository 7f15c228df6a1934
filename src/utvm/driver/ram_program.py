"""The program of a network for a device that offers memory access only: all of it lies in RAM.

In: a compiled network and the options of a build. Out: the linked program, which leaves room for
what a session allocates (inputs, outputs; all values, if the graph stays on the host). One that
does not fit is refused with how much it needs and how much there is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from utvm.device.crt import CRT, GRAPH_EXECUTOR, crt_include_dir
from utvm.device.elf import ElfImage, read_elf
from utvm.device.memory_program import RUNTIME, build_memory_program, free_memory
from utvm.driver.options import BuildOptions
from utvm.driver.pipeline import Compiled
from utvm.driver.session_network import session_memory_bytes
from utvm.support.errors import MemoryLimitError
from utvm.target.board import Board

_ROOM_BYTES = 128 << 20
_HINT = "use a board with more memory, --objective size, or a program in flash: utvm compile"


def link_ram_program(
    compiled: Compiled, options: BuildOptions, sources: list[Path], folder: Path, out: Path
) -> Path:
    """Links the C ``sources`` of the network's functions in ``folder``."""
    board = options.board
    try:
        program = _link(compiled, options, sources, folder, out)
    except MemoryLimitError as error:
        roomy = replace(options, board=_roomy(board))
        image = read_elf(_link(compiled, roomy, sources, folder, out))
        raise _too_large(_program_bytes(image, board), board) from error
    free = sum(high - low for low, high in free_memory(read_elf(program), board))
    own = session_memory_bytes(compiled, head_bytes=0)
    if own > free:
        raise MemoryLimitError(
            "the network's tensors do not fit into the RAM beside its program",
            where=board.name,
            expected=f"at most {free} bytes",
            found=f"{own} bytes",
            hint=_HINT,
        )
    return program


def _link(
    compiled: Compiled, options: BuildOptions, sources: list[Path], folder: Path, out: Path
) -> Path:
    """The graph runtime is there if it is what runs the network."""
    runtime = [name for name in GRAPH_EXECUTOR if name not in RUNTIME]
    graph = [CRT / "src" / f"{name}.c" for name in runtime] if compiled.program else []
    return build_memory_program(
        options.toolchain,
        options.target,
        options.board,
        [*sources, *graph],
        [folder, crt_include_dir()],
        out,
        keep=(compiled.functions.registry,),
        optimize=options.optimize,
    )


def _program_bytes(image: ElfImage, board: Board) -> int:
    """The main RAM that the program takes."""
    return image.symbols["__utvm_heap_start"].address - board.memory("ram").origin


def _too_large(needed_bytes: int, board: Board) -> MemoryLimitError:
    memory = board.memory("ram")
    return MemoryLimitError(
        "the program does not fit into the memory where debuggers put it",
        where=f"{board.name}: {memory.name}",
        expected=f"at most {memory.size_bytes} bytes",
        found=f"{needed_bytes} bytes",
        hint=_HINT,
    )


def _roomy(board: Board) -> Board:
    """The board with a main RAM that holds any model; never run, only linked for."""
    main = board.memory("ram")
    memories = tuple(
        replace(memory, size_bytes=_ROOM_BYTES) if memory is main else memory
        for memory in board.memories
    )
    return replace(board, memories=memories)
