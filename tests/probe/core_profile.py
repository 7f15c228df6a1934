"""Kinds of Cortex-M as a debugger tells them apart: identification registers and ROM tables.

Out: a ``CoreProfile`` for each kind that the virtual targets have. Values are those of the
Technical Reference Manuals: Cortex-M7 (Arm DDI 0489), Cortex-M4 (DDI 0439);
of the STM32F746: RM0385, section 40.6. Layout of component identification: ADIv5.2, part D.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Components on the private bus, and the offsets of their identification registers.
_ITM, _DWT, _FPB, _SCS = 0xE0000000, 0xE0001000, 0xE0002000, 0xE000E000
_CORE_TABLE = 0xE00FF000
_PIDR4, _PIDR0, _CIDR0 = 0xFD0, 0xFE0, 0xFF0
_TABLE_CLASS, _GENERIC_CLASS = 0x1, 0xE
_ARM, _ST = (0x3B, 4), (0x20, 0)  # JEP106: identity and continuation code
_PRESENT = 3  # of an entry: 32 bits wide, and there


@dataclass(frozen=True)
class CoreProfile:
    """A kind of core, with the chip around it as far as debuggers look at it.

    ``kept`` are registers that keep what is written to them and do nothing.
    """

    ap: int  # IDR of its memory access port
    breakpoints: int
    breakpoint_version: int  # 2: comparators reach every address; 1: only those below 0x20000000
    literals: int
    rom_table: int  # address of the first table
    words: Mapping[int, int]
    kept: frozenset[int] = field(default_factory=frozenset)

    def is_identification(self, address: int) -> bool:
        """Whether an address without a word lies in a ROM table or among a component's ID
        registers, where it reads as zero."""
        page, offset = address & ~0xFFF, address & 0xFFF
        if page in (self.rom_table, _CORE_TABLE):
            return True
        return page in (_ITM, _DWT, _FPB, _SCS) and offset >= _PIDR4


def _identification(base: int, kind: int, designer: tuple[int, int], part: int) -> dict[int, int]:
    """PIDR and CIDR of a component; D1.2 of ADIv5.2."""
    identity, continuation = designer
    names = (
        part & 0xFF,
        part >> 8 | (identity & 0xF) << 4,
        8 | identity >> 4,  # JEDEC
        0,
    )
    preamble = (0x0D, kind << 4, 0x05, 0xB1)
    words = {base + _PIDR4: continuation}
    words |= {base + _PIDR0 + 4 * index: value for index, value in enumerate(names)}
    words |= {base + _CIDR0 + 4 * index: value for index, value in enumerate(preamble)}
    return words


def _table(base: int, components: tuple[int, ...]) -> dict[int, int]:
    """The entries of a ROM table: distances to the components."""
    entries = {
        base + 4 * index: ((component - base) & 0xFFFFF000) | _PRESENT
        for index, component in enumerate(components)
    }
    return entries | {base + 0xFCC: 1}  # MEMTYPE: system memory is on the same bus


def _core_words(scs: int, dwt: int, fpb: int, table: int) -> dict[int, int]:
    """The core's own ROM table and components, by their part numbers."""
    words = _table(_CORE_TABLE, (_SCS, _DWT, _FPB))
    words |= _identification(_CORE_TABLE, _TABLE_CLASS, _ARM, table)
    for base, part in ((_SCS, scs), (_DWT, dwt), (_FPB, fpb)):
        words |= _identification(base, _GENERIC_CLASS, _ARM, part)
    return words


_STM32_TABLE = 0xE00FD000
_DBGMCU = 0xE0042000
_ICIALLU = 0xE000EF50  # to write to it empties the instruction cache

STM32F746 = CoreProfile(
    ap=0x74770001,
    breakpoints=8,
    breakpoint_version=2,
    literals=0,
    rom_table=_STM32_TABLE,
    words=_core_words(scs=0x00C, dwt=0x002, fpb=0x00E, table=0x4C7)
    | _table(_STM32_TABLE, (_CORE_TABLE,))
    | _identification(_STM32_TABLE, _TABLE_CLASS, _ST, 0x449)
    | {
        0xE000E004: 3,  # ICTR: up to 128 interrupts
        0xE000ED00: 0x410FC271,  # CPUID: r0p1
        0xE000ED6C: 0x01111131,  # ID_ISAR3: with the DSP extension
        0xE000ED78: 0x09000003,  # CLIDR: instruction and data cache
        0xE000ED90: 0x00000800,  # MPU_TYPE: 8 regions
        0xE000EF40: 0x10110021,  # MVFR0 to MVFR2: single precision, FPv5
        0xE000EF44: 0x11000011,
        0xE000EF48: 0x00000040,
        _ICIALLU: 0,
        _DBGMCU: 0x10016449,
        _DBGMCU + 4: 0,
        _DBGMCU + 8: 0,
        _DBGMCU + 12: 0,
        0x1FF0F440: 1024 << 16,  # size of the flash memory, in KB
    },
    kept=frozenset((_DBGMCU + 4, _DBGMCU + 8, _DBGMCU + 12)),
)

CORTEX_M4 = CoreProfile(
    ap=0x24770011,
    breakpoints=6,
    breakpoint_version=1,
    literals=2,
    rom_table=_CORE_TABLE,
    words=_core_words(scs=0x00C, dwt=0x002, fpb=0x003, table=0x4C4)
    | {
        0xE000E004: 1,
        0xE000ED00: 0x410FC241,
        0xE000ED6C: 0x01111131,
        0xE000ED78: 0,
        0xE000ED90: 0x00000800,
        0xE000EF40: 0x10110021,
        0xE000EF44: 0x11000011,
        0xE000EF48: 0,
    },
)
