"""What a device over RPC says it died of (SPEC.md, section "RPC", command 9), made readable.

In: the numbers that came over the wire, the names of operators that the session has asked for, and
the program's ELF file where there is one. Out: a ``Fault``. Nothing from the wire is trusted.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum

from utvm.device.cortex_m_faults import decode_faults
from utvm.device.elf import ElfImage
from utvm.device.session import Fault, ProtocolError
from utvm.support.text import printable

_LAYOUT = struct.Struct("<10I")
FAULT_BYTES = _LAYOUT.size
_NO_FUNCTION = 0xFFFFFFFF

# The RISC-V Instruction Set Manual, Volume II, table of mcause; a name, and whether mtval is an
# address that an access failed at.
_TRAPS = {
    0: ("misaligned instruction address", True),
    1: ("instruction access fault", True),
    2: ("illegal instruction", False),
    3: ("breakpoint", False),
    4: ("misaligned load", True),
    5: ("load access fault", True),
    6: ("misaligned store", True),
    7: ("store access fault", True),
    11: ("environment call", False),
}


class Reason(IntEnum):
    """As in rpc.h."""

    CORTEX_M = 1
    RISCV = 2
    STACK = 3
    WATCHDOG = 4
    EXIT = 5


def read_fault(numbers: bytes, names: Mapping[int, str], image: ElfImage | None) -> Fault:
    """The fault that command 9 tells of."""
    if len(numbers) != FAULT_BYTES:
        raise ProtocolError("a fault has another size than it should", found=f"{len(numbers)}")
    index, reason, pc, _, stack, *rest = _LAYOUT.unpack(numbers)
    kind, details, address = _cause(reason, pc, stack, tuple(rest))
    known_pc = pc if pc and reason != Reason.EXIT else None
    where = "" if known_pc is None else f" at pc {_place(known_pc, image)}"
    name = names.get(index, "")
    return Fault(
        function=None if index == _NO_FUNCTION else index,
        text=printable(f"{kind}{where}" + "".join(f", {detail}" for detail in details), 200),
        name=name,
        kind=kind,
        pc=known_pc,
        address=address,
    )


def _place(pc: int, image: ElfImage | None) -> str:
    place = f"{pc:#010x}"
    symbol = image.function_at(pc) if image else place
    return place if symbol == place else f"{place} ({symbol})"


def _cause(
    reason: int, pc: int, stack: int, rest: tuple[int, ...]
) -> tuple[str, list[str], int | None]:
    """The kind of a fault, what else is known, and the address that an access failed at."""
    if reason == Reason.CORTEX_M:
        cause = decode_faults(*rest)
        return _with_address(cause.kind, list(cause.causes), cause.address)
    if reason == Reason.RISCV:
        name, has_address = _TRAPS.get(rest[0], (f"trap {rest[0]:#x}", False))
        return _with_address(name, [], rest[1] if has_address else None)
    if reason == Reason.STACK:
        return "stack overflow", [f"stack pointer {stack:#010x}"], None
    if reason == Reason.WATCHDOG:
        return "watchdog", ["the call took longer than it may"], None
    if reason == Reason.EXIT:
        return f"the program ended with status {pc}", [], None
    return f"fault of unknown kind {reason}", [], None


def _with_address(
    kind: str, details: list[str], address: int | None
) -> tuple[str, list[str], int | None]:
    if address is not None:
        details.append(f"address {address:#010x}")
    return kind, details, address
