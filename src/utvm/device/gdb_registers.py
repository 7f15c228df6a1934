"""The registers of a GDB server, by name, from its target description.

In: a function that reads one document of the description by its name. Out: ``Register`` per name,
in lower case. The numbers differ between servers: QEMU's xpsr is 25, OpenOCD's 16. A server without
a description gets the fixed numbers of an M-profile core. What the server sends may be anything:
documents are bounded in number and size, and entities are refused.

Format: the appendix "Target Descriptions" of the GDB manual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from utvm.device.session import ProtocolError

_MAX_DOCUMENTS = 32
_MAX_REGISTERS = 4096
_MAX_REGISTER_BITS = 4096
_INCLUDE = "{http://www.w3.org/2001/XInclude}include"
_ROOT = "target.xml"
# RISC-V's by the names of the ABI, as descriptions may say x10 where callers say a0.
_RISCV_ABI = (
    *("zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "fp", "s1"),
    *(f"a{n}" for n in range(8)),
    *(f"s{n}" for n in range(2, 12)),
    *("t3", "t4", "t5", "t6"),
)


@dataclass(frozen=True)
class Register:
    """``offset`` is the place in the answer to ``g``, which holds all in the order of numbers."""

    name: str
    number: int
    size_bytes: int
    offset: int


def default_registers() -> dict[str, Register]:
    """What GDB assumes of an M-profile core: r0 to pc, and xpsr in the place of the old cpsr."""
    # Between pc and xpsr lie eight registers of 12 bytes and one of 4 of a coprocessor long gone.
    names = (*(f"r{n}" for n in range(13)), "sp", "lr", "pc")
    core = [Register(name, n, 4, 4 * n) for n, name in enumerate(names)]
    return {r.name: r for r in (*core, Register("xpsr", 25, 4, 4 * 16 + 8 * 12 + 4))}


def described_registers(read: Callable[[str], bytes], server: str) -> dict[str, Register]:
    """The registers that the description of ``server`` lists; ``read`` gives its documents."""
    found: list[tuple[int, str, int]] = []
    number = 0
    for element in _elements(read, server):
        try:
            number = int(element.get("regnum", number))
            bits = int(element.get("bitsize", ""))
        except ValueError as error:
            raise _strange("numbers of a register that are none", server) from error
        if not 0 < bits <= _MAX_REGISTER_BITS or not 0 <= number < _MAX_REGISTERS:
            raise _strange("a register that cannot be", server)
        found.append((number, element.get("name", "").lower(), (bits + 7) // 8))
        number += 1
        if len(found) > _MAX_REGISTERS:
            raise _strange("registers without end", server)
    offset = 0
    registers: dict[str, Register] = {}
    for number, name, size_bytes in sorted(found):
        registers.setdefault(name, Register(name, number, size_bytes, offset))
        offset += size_bytes
    return {**_abi_names(registers), **registers}


def _abi_names(registers: dict[str, Register]) -> dict[str, Register]:
    return {
        name: registers[f"x{number}"]
        for number, name in enumerate(_RISCV_ABI)
        if f"x{number}" in registers
    }


def _elements(read: Callable[[str], bytes], server: str) -> Iterator[ElementTree.Element]:
    """The elements ``reg`` in order, those of included documents in the place of the include."""
    seen: list[str] = []

    def walk(name: str) -> Iterator[ElementTree.Element]:
        seen.append(name)
        if len(seen) > _MAX_DOCUMENTS:
            raise _strange("documents without end", server)
        text = read(name)
        if b"<!ENTITY" in text:
            raise _strange("entities", server)
        try:
            root = ElementTree.fromstring(_with_namespace(text))
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            # LookupError: an encoding that nobody knows.
            raise _strange("a document that is no XML", server) from error
        for element in root.iter():
            if element.tag == "reg":
                yield element
            elif element.tag == _INCLUDE:
                yield from walk(element.get("href", ""))

    return walk(_ROOT)


def _with_namespace(text: bytes) -> bytes:
    """QEMU and others use the prefix xi without declaring it, which GDB lets pass."""
    if b"xmlns:xi" in text:
        return text
    return text.replace(b"<target", b'<target xmlns:xi="http://www.w3.org/2001/XInclude"', 1)


def _strange(what: str, server: str) -> ProtocolError:
    return ProtocolError(
        "the GDB server's target description makes no sense", where=server, found=what
    )
