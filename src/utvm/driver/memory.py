"""Flash and RAM of a program, read from its ELF file.

In: a linked program, its board, and the compiled network it holds. Out: bytes of code and of
constants in flash; bytes of the arena, of the inputs and outputs, and of everything else that is
static in RAM. Every allocated section counts once, or twice where it lies in flash and is
copied to RAM. The stack is not among them: it is measured by running.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from utvm.codegen.c_graph_main import GRAPH_MEMORY
from utvm.codegen.c_module import prefix_of
from utvm.codegen.c_rpc_main import RPC_MEMORY
from utvm.codegen.graph_layout import runtime_memory_bytes
from utvm.device.elf import ElfImage, Section
from utvm.driver.pipeline import Compiled
from utvm.driver.session_network import session_memory_bytes
from utvm.support.errors import InternalError
from utvm.target.board import Board

STACK_SECTION = ".stack"
VECTORS_SECTION = ".vectors"
HEAP_START = "__utvm_heap_start"  # of programs that lie in RAM as a whole
_ARENA_WORD_BYTES = 8


@dataclass(frozen=True)
class Flash:
    """What is stored: instructions and vectors; constants and the first values of variables."""

    code: int
    constants: int

    @property
    def total(self) -> int:
        return self.code + self.constants


@dataclass(frozen=True)
class Ram:
    """What is reserved: intermediate results; inputs and outputs; all else but the stack.

    With the graph executor, ``arena`` is the runtime's memory, with the graph in it. In an RPC
    server, inputs and outputs are its memory for tensors; with the graph on the host, all of that
    is ``arena``.
    """

    arena: int
    io: int
    static: int

    @property
    def total(self) -> int:
        return self.arena + self.io + self.static


@dataclass(frozen=True)
class Memory:
    """The memory of a program on a board."""

    flash: Flash
    ram: Ram


@dataclass(frozen=True)
class Forecast:
    """What the memory plan says before anything is linked; the ELF file must agree."""

    arena: int
    io: int
    parameters: int


def forecast(compiled: Compiled, pointer_bytes: int = 4) -> Forecast:
    """The plan's figures: the arena in whole words, inputs and outputs, and all parameters.

    With the graph executor, what the runtime takes depends on how large pointers are.
    """
    module = compiled.module
    if compiled.program is None:
        arena = -(-compiled.plan.arena_bytes // _ARENA_WORD_BYTES) * _ARENA_WORD_BYTES
    else:
        arena = runtime_memory_bytes(compiled.program.layout, pointer_bytes)
    io = sum(module.tensors[name].size_bytes for name in (*module.inputs, *module.outputs))
    parameters = sum(int(data.nbytes) for data in module.constants.values())
    return Forecast(arena, io, parameters)


def read_memory(image: ElfImage, board: Board, compiled: Compiled) -> Memory:
    """The memory of the program ``image``."""
    sections = [s for s in image.sections if s.alloc and s.size and s.name != STACK_SECTION]
    if HEAP_START in image.symbols:
        return _all_in_ram(image, sections, compiled)
    in_ram = [s for s in sections if _is_in_ram(s, board)]
    in_flash = [s for s in sections if not _is_in_ram(s, board)]
    code = sum(s.size for s in in_flash if s.exec or s.name == VECTORS_SECTION)
    constants = sum(s.size for s in in_flash) - code
    constants += sum(s.size for s in in_ram if not s.nobits)
    module = compiled.module
    arena_bytes = _size_of(image, _arena_names(compiled))
    if compiled.executor == "host":
        io_bytes = 0
    elif RPC_MEMORY in image.symbols:
        io_bytes = _size_of(image, [RPC_MEMORY])
    else:
        io_bytes = _size_of(image, [f"input{k}" for k in range(len(module.inputs))])
        io_bytes += _size_of(image, [f"output{k}" for k in range(len(module.outputs))])
    static = sum(s.size for s in in_ram) - arena_bytes - io_bytes
    return Memory(Flash(code, constants), Ram(arena_bytes, io_bytes, static))


def _all_in_ram(image: ElfImage, sections: list[Section], compiled: Compiled) -> Memory:
    """A program that a debugger puts into RAM; inputs and outputs are allocated behind it."""
    own = session_memory_bytes(compiled, head_bytes=0)
    total = sum(section.size for section in sections)
    if compiled.executor == "host":
        return Memory(Flash(0, 0), Ram(own, 0, total))
    arena = _size_of(image, _arena_names(compiled))
    return Memory(Flash(0, 0), Ram(arena, own, total - arena))


def _arena_names(compiled: Compiled) -> list[str]:
    """The variable that holds intermediate results, if there is one."""
    prefix = prefix_of(compiled.module)
    if compiled.executor == "host":
        return [RPC_MEMORY]
    if compiled.program is not None:
        return [GRAPH_MEMORY]
    return [f"{prefix}_arena"] if compiled.plan.arena_bytes else []


def _is_in_ram(section: Section, board: Board) -> bool:
    return any(
        memory.kind == "ram" and memory.origin <= section.address < memory.end
        for memory in board.memories
    )


def _size_of(image: ElfImage, names: Iterable[str]) -> int:
    """The bytes of static variables that the generated code defines."""
    total = 0
    for name in names:
        symbol = image.symbols.get(name)
        if symbol is None or not symbol.size:
            raise InternalError(f"the program has no variable {name}: {image.path}")
        total += symbol.size
    return total
