"""Programs that lie in a device's RAM as a whole, for sessions over memory access.

In: a board and C sources with the packed signature. Out: an ELF file with the device's half of
utvm/task.h, the runtime's pieces and the sources, linked at addresses in the board's main RAM; or a
*module*, which is linked alone, against such a program, for a place that the program keeps free. So
a new kernel is a few kilobytes to write and nothing else. Also: what of the RAM is left for the
host to give out, and where everything lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utvm.device.crt import CRT
from utvm.device.elf import ElfImage, read_elf
from utvm.device.link import Layout, board_numbers, build_elf, compile_object
from utvm.device.toolchain import Toolchain
from utvm.support.cache import cached_file
from utvm.support.errors import DeviceError, InputError, MemoryLimitError, UnsupportedError
from utvm.target.board import Board, Memory
from utvm.target.target import Target

RUNTIME = ("math", "mem", "memory", "runtime", "status", "task", "tensor")
"""The runtime's files that every such program has; the linker drops what is not used."""

# What modules may use of the program they are linked against.
RESIDENT_FUNCTIONS = (
    "TVMBackendAllocWorkspace",
    "TVMBackendFreeWorkspace",
    "TVMBackendCheckTensors",
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "utvm_expf",
    "utvm_floorf",
    "utvm_logf",
    "utvm_logisticf",
    "utvm_rintf",
    "utvm_roundf",
    "utvm_sqrtf",
    "utvm_tanhf",
)
# What compilers for Arm call to copy; without it modules get the compiler's own, byte by byte.
ARM_FUNCTIONS = tuple(
    f"__aeabi_mem{what}{size}" for what in ("cpy", "move", "set", "clr") for size in ("", "4", "8")
)

_TASK_BYTES = 8192  # for the tasks of one run and their arguments
_TASK_SHARE = 16  # of a RAM that is small


def has_memory_program(board: Board) -> bool:
    """Whether programs for the board's RAM can be built."""
    return (CRT / "port" / f"{board.port}_task").is_dir()


def memory_sources(board: Board) -> list[Path]:
    """The runtime's sources of such a program, in link order."""
    port = CRT / "port" / f"{board.port}_task"
    if not has_memory_program(board):
        raise UnsupportedError(
            "programs cannot be put into the RAM of this board",
            where=board.name,
            found=f"port {board.port}",
        )
    return [port / "task_core.c", *(CRT / "src" / f"{name}.c" for name in RUNTIME)]


def task_area_bytes(board: Board) -> int:
    """How much memory the tasks of one run have."""
    share = board.memory("ram").size_bytes // _TASK_SHARE
    return min(_TASK_BYTES, share) & ~7


def build_memory_program(
    toolchain: Toolchain,
    target: Target,
    board: Board,
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    out: Path,
    *,
    keep: Sequence[str] = (),
    module_bytes: int = 0,
    optimize: str = "-O2",
    jobs: int = 2,
) -> Path:
    """Links ``sources`` and the runtime for the board's RAM. ``keep`` names functions, or tables of
    them, that the host will ask for; ``module_bytes`` stay free for modules."""
    runtime = memory_sources(board)
    kept = [*keep, *(_resident_functions(target) if module_bytes else ())]
    layout = Layout(
        CRT / "port" / f"{board.port}_task" / "link.ld",
        _program_memory(board, kept, -(-module_bytes // 8) * 8),
    )
    return build_elf(
        toolchain,
        target,
        board,
        [*sources, *runtime],
        [*include_dirs, CRT / "include"],
        out,
        optimize=optimize,
        jobs=jobs,
        layout=layout,
    )


def build_memory_module(
    toolchain: Toolchain,
    target: Target,
    board: Board,
    resident: ElfImage,
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    out: Path,
    *,
    keep: Sequence[str],
    objects: Sequence[Path] = (),
    optimize: str = "-O2",
    jobs: int = 2,
) -> Path:
    """Links ``sources`` for the place that the program ``resident`` keeps free for modules."""
    if not keep:
        raise InputError("a module without functions that are kept is empty", where=str(out))
    low, high = (resident.symbols[f"__utvm_module_{end}"].address for end in ("start", "end"))
    memory = [
        "MEMORY",
        "{",
        f"  module (rwx) : ORIGIN = {low:#010x}, LENGTH = {high - low:#x}",
        "}",
        'REGION_ALIAS("MODULE", module)',
        f"ENTRY({keep[0]})",
        f"EXTERN({' '.join(keep)})",
    ]
    layout = Layout(CRT / "port" / f"{board.port}_task" / "module.ld", "\n".join(memory) + "\n")
    return build_elf(
        toolchain,
        target,
        board,
        sources,
        [*include_dirs, CRT / "include"],
        out,
        optimize=optimize,
        jobs=jobs,
        layout=layout,
        objects=[*objects, _resident_object(toolchain, target, resident)],
    )


def _resident_object(toolchain: Toolchain, target: Target, resident: ElfImage) -> Path:
    """Nothing but the addresses of functions that are on the device already; from the cache."""
    text = _resident_source(resident, target)

    def build(out: Path) -> None:
        source = out.with_name("resident.c")
        source.write_text(text, encoding="ascii")
        compile_object(toolchain, target, source, [], out)

    return cached_file("resident.o", (toolchain.version(), target.name, text), build)


def _resident_functions(target: Target) -> tuple[str, ...]:
    return RESIDENT_FUNCTIONS + (() if target.arch.startswith("rv") else ARM_FUNCTIONS)


def _resident_source(resident: ElfImage, target: Target) -> str:
    """C with nothing but the addresses of functions that are on the device already."""
    thumb = 0 if target.arch.startswith("rv") else 1
    lines = ["/* Functions of the program that a module is linked against. */"]
    for name in _resident_functions(target):
        symbol = resident.symbols.get(name)
        if symbol is not None:
            text = f".global {name}\\n.type {name}, %function\\n"
            lines.append(f'__asm__("{text}.set {name}, {symbol.address | thumb:#010x}\\n");')
    return "\n".join(lines) + "\n"


def _program_memory(board: Board, keep: Sequence[str], module_bytes: int) -> str:
    """The text of ``utvm_memory.ld``: only the main RAM, since nothing goes elsewhere."""
    ram = board.memory("ram")
    numbers = {
        **board_numbers(board),
        "task_bytes": task_area_bytes(board),
        "module_bytes": module_bytes,
    }
    lines = [
        "MEMORY",
        "{",
        f"  {ram.name} (rwx) : ORIGIN = {ram.origin:#010x}, LENGTH = {ram.size_bytes:#x}",
        "}",
        f'REGION_ALIAS("RAM", {ram.name})',
        *(f"__utvm_{name} = {value:#x};" for name, value in numbers.items()),
    ]
    if keep:
        lines.append(f"EXTERN({' '.join(keep)})")
    return "\n".join(lines) + "\n"


def free_memory(image: ElfImage, board: Board) -> tuple[tuple[int, int], ...]:
    """First and past-the-last address of what the program leaves: the main RAM's rest, then the
    board's other RAM memories."""
    low, high = (image.symbols[f"__utvm_heap_{end}"].address for end in ("start", "end"))
    main = board.memory("ram")
    others = [m for m in board.memories if m.kind == "ram" and m is not main]
    return ((low, high), *((memory.origin, memory.end) for memory in others))


@dataclass(frozen=True)
class Placed:
    """A section, or a function in one: where it lies and how large it is."""

    name: str
    memory: str
    section: str
    address: int
    size_bytes: int


@dataclass(frozen=True)
class SectionMap:
    """Where the parts of a program lie, by address."""

    sections: tuple[Placed, ...]
    functions: tuple[Placed, ...]
    free: tuple[Placed, ...]


def section_map(images: Sequence[ElfImage], board: Board) -> SectionMap:
    """The map of a program and the modules beside it; the first image is the program."""
    sections = [
        Placed(s.name, _memory_of(board, s.address), s.name, s.address, s.size)
        for image in images
        for s in image.sections
        if s.alloc and s.size
    ]
    functions = [
        Placed(
            f.name,
            _memory_of(board, f.address),
            _section_of(sections, f.address),
            f.address,
            f.size,
        )
        for image in images
        for f in image.functions
        if f.size
    ]
    free = [
        Placed("(free)", _memory_of(board, low), "", low, high - low)
        for low, high in free_memory(images[0], board)
    ]
    ordered = (
        tuple(sorted(rows, key=lambda row: row.address)) for rows in (sections, functions, free)
    )
    return SectionMap(*ordered)


def _memory_of(board: Board, address: int) -> str:
    found: Memory | None = next((m for m in board.memories if m.origin <= address < m.end), None)
    return found.name if found else ""


def _section_of(sections: Sequence[Placed], address: int) -> str:
    for section in sections:
        if section.address <= address < section.address + section.size_bytes:
            return section.name
    return ""


def read_memory_program(path: Path, board: Board) -> ElfImage:
    """The program in ``path``, which must be one of these and leave memory for the host."""
    image = read_elf(path)
    if "utvm_task_area" not in image.symbols or "__utvm_heap_start" not in image.symbols:
        raise DeviceError(
            "the program is not one for sessions over memory access",
            where=str(path),
            expected="the symbols of utvm/task.h",
        )
    if not any(low < high for low, high in free_memory(image, board)):
        raise MemoryLimitError("the program leaves no RAM for tensors", where=board.name)
    return image
