"""Reading a linked ELF file: what the emulator loads and what a person reads in a fault message.

In: the path of a 32-bit little-endian ELF file for Arm or RISC-V. Out: an ``ElfImage`` with the
entry point, the loadable segments, the sections and the symbols. Assumes nothing about who linked
the file: a broken one raises ``DeviceError``. Addresses of functions have the Thumb bit cleared.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.constants import P_FLAGS, SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from utvm.support.errors import DeviceError

_MACHINES = ("EM_ARM", "EM_RISCV")
_KINDS = {"STT_FUNC": "func", "STT_OBJECT": "object"}
_MAX_SEGMENT_BYTES = 64 << 20


@dataclass(frozen=True)
class Segment:
    """Memory to load at ``paddr``; it runs at ``vaddr`` (elsewhere for data copied at start)."""

    paddr: int
    vaddr: int
    data: bytes
    memsz: int
    writable: bool
    executable: bool


@dataclass(frozen=True)
class Section:
    """A named part of the file; ``nobits`` takes memory on the device but no bytes in the file."""

    name: str
    address: int
    size: int
    alloc: bool
    write: bool
    exec: bool
    nobits: bool


@dataclass(frozen=True)
class Symbol:
    """A function or an object (linker-defined marks count as objects)."""

    name: str
    address: int
    size: int
    kind: str


@dataclass(frozen=True)
class ElfImage:
    """A linked program. ``functions`` is sorted by address and may hold several of one name."""

    path: Path
    entry: int
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    symbols: Mapping[str, Symbol]
    functions: tuple[Symbol, ...]

    @cached_property
    def _starts(self) -> list[int]:
        return [function.address for function in self.functions]

    def function_at(self, address: int) -> str:
        """``name`` or ``name+0x12`` of the function that holds ``address``, else the address."""
        at = bisect_right(self._starts, address) - 1
        if at >= 0:
            function = self.functions[at]
            offset = address - function.address
            if offset < function.size or (function.size == 0 and offset < 4096):
                return f"{function.name}+{offset:#x}" if offset else function.name
        return f"{address:#010x}"

    def function_range(self, name: str) -> tuple[int, int]:
        """First and past-the-last address of the function ``name``."""
        symbol = self.symbols.get(name)
        if symbol is None or symbol.kind != "func":
            raise DeviceError(
                f"the program has no function {name}",
                where=str(self.path),
                hint="link with symbols, and keep the function from being inlined or discarded",
            )
        if symbol.size:
            return symbol.address, symbol.address + symbol.size
        after = bisect_right(self._starts, symbol.address)
        end = self._starts[after] if after < len(self._starts) else symbol.address + 4096
        return symbol.address, end


def read_elf(path: Path) -> ElfImage:
    """The program in ``path``; raises ``DeviceError`` when it is not a whole ELF file."""
    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            _check_header(elf, path)
            sections = tuple(_sections(elf))
            functions, symbols = _symbols(elf, sections)
            return ElfImage(
                path=path,
                entry=elf.header["e_entry"],
                segments=tuple(_segments(elf, path)),
                sections=sections,
                symbols=symbols,
                functions=functions,
            )
    except OSError as error:
        raise DeviceError(f"cannot read the program: {error.strerror}", where=str(path)) from error
    except (
        ELFError,
        ConstructError,
        struct.error,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
        # pyelftools reports damage with whatever its parser tripped over.
        raise DeviceError(
            "the program is not a valid ELF file", where=str(path), hint="link it again"
        ) from error


def _check_header(elf: ELFFile, path: Path) -> None:
    machine = elf.header["e_machine"]
    if machine not in _MACHINES or elf.elfclass != 32 or not elf.little_endian:
        raise DeviceError(
            "the program is for another processor",
            where=str(path),
            expected="a 32-bit little-endian ELF file for Arm or RISC-V",
            found=f"{elf.elfclass}-bit {machine}",
            hint="link it with the target's toolchain",
        )
    if elf.header["e_type"] != "ET_EXEC":
        raise DeviceError(
            "the program is not linked",
            where=str(path),
            expected="an executable (ET_EXEC)",
            found=str(elf.header["e_type"]),
        )


def _segments(elf: ELFFile, path: Path) -> Iterator[Segment]:
    for header in elf.iter_segments("PT_LOAD"):
        data = header.data()
        file_bytes, memory_bytes = header["p_filesz"], header["p_memsz"]
        if len(data) != file_bytes or not file_bytes <= memory_bytes <= _MAX_SEGMENT_BYTES:
            raise DeviceError(
                "a segment of the program is cut short or absurdly large",
                where=str(path),
                expected=f"{file_bytes} bytes",
                found=f"{len(data)} bytes, {memory_bytes} in memory",
            )
        if memory_bytes:
            yield Segment(
                paddr=header["p_paddr"],
                vaddr=header["p_vaddr"],
                data=data,
                memsz=memory_bytes,
                writable=bool(header["p_flags"] & P_FLAGS.PF_W),
                executable=bool(header["p_flags"] & P_FLAGS.PF_X),
            )


def _sections(elf: ELFFile) -> Iterator[Section]:
    for section in elf.iter_sections():
        flags = section["sh_flags"]
        yield Section(
            name=section.name,
            address=section["sh_addr"],
            size=section["sh_size"],
            alloc=bool(flags & SH_FLAGS.SHF_ALLOC),
            write=bool(flags & SH_FLAGS.SHF_WRITE),
            exec=bool(flags & SH_FLAGS.SHF_EXECINSTR),
            nobits=section["sh_type"] == "SHT_NOBITS",
        )


def _symbols(
    elf: ELFFile, sections: tuple[Section, ...]
) -> tuple[tuple[Symbol, ...], Mapping[str, Symbol]]:
    """All functions sorted by address, and every symbol by name (a global wins over a local)."""
    table = elf.get_section_by_name(".symtab")
    functions: list[Symbol] = []
    symbols: dict[str, Symbol] = {}
    if not isinstance(table, SymbolTableSection):
        return (), symbols
    for entry in table.iter_symbols():
        index, kind = entry["st_shndx"], entry["st_info"]["type"]
        name: str = entry.name
        # "$t", "$d" and the like mark code and data for disassemblers, ".L0" a place in a function.
        if not name or name.startswith(("$", ".L")) or index == "SHN_UNDEF":
            continue
        if kind not in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE"):
            continue
        in_code = isinstance(index, int) and index < len(sections) and sections[index].exec
        resolved = _KINDS.get(kind, "func" if in_code else "object")
        address = entry["st_value"] & ~1 if resolved == "func" else entry["st_value"]
        symbol = Symbol(name, address, entry["st_size"], resolved)
        if resolved == "func":
            functions.append(symbol)
        if name not in symbols or entry["st_info"]["bind"] == "STB_GLOBAL":
            symbols[name] = symbol
    functions.sort(key=lambda function: (function.address, function.size, function.name))
    return tuple(functions), symbols
