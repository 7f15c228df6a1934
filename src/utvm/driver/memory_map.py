"""Which functions and sections of a program lie where: ``utvm run --show-memory``.

In: a ``Build``. Out: a ``SectionMap``, with what the board's memories have left. Programs in RAM
and programs in flash are looked at in the same way: the ELF file says it all.
"""

from __future__ import annotations

from utvm.device.elf import ElfImage
from utvm.device.memory_program import Placed, SectionMap, section_map
from utvm.driver.build import Build
from utvm.driver.memory import HEAP_START
from utvm.support.errors import UnsupportedError
from utvm.target.board import Board, Memory


def memory_map(build: Build) -> SectionMap:
    """The map of a program on a board; a native one has no place of its own."""
    board = build.options.board
    if build.image is None:
        raise UnsupportedError(
            "there is no program here whose memory could be shown",
            where=board.name,
            hint="--show-memory is for programs that are built for a board",
        )
    if HEAP_START in build.image.symbols:
        return section_map([build.image], board)
    return _program_map(build.image, board)


def _program_map(image: ElfImage, board: Board) -> SectionMap:
    sections = sorted(
        (
            Placed(s.name, _memory_at(board, s.address), s.name, s.address, s.size)
            for s in image.sections
            if s.alloc and s.size
        ),
        key=lambda placed: placed.address,
    )
    functions = [
        Placed(
            f.name,
            _memory_at(board, f.address),
            _section_at(sections, f.address),
            f.address,
            f.size,
        )
        for f in image.functions
        if f.size
    ]
    free = [_behind(memory, sections) for memory in board.memories]
    return SectionMap(
        tuple(sections),
        tuple(sorted(functions, key=lambda placed: placed.address)),
        tuple(placed for placed in free if placed.size_bytes),
    )


def _behind(memory: Memory, sections: list[Placed]) -> Placed:
    """What is left behind the last section in a memory. First values of variables are in flash,
    too, but no section: their place is counted with the variables' size."""
    inside = [s for s in sections if memory.origin <= s.address < memory.end]
    end = max((s.address + s.size_bytes for s in inside), default=memory.origin)
    if memory.kind == "flash":
        end += sum(s.size_bytes for s in sections if s.name == ".data")
    return Placed("(free)", memory.name, "", end, max(0, memory.end - end))


def _memory_at(board: Board, address: int) -> str:
    return next((m.name for m in board.memories if m.origin <= address < m.end), "")


def _section_at(sections: list[Placed], address: int) -> str:
    for section in sections:
        if section.address <= address < section.address + section.size_bytes:
            return section.name
    return ""
