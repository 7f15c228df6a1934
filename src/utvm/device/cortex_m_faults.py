"""What the fault registers of a Cortex-M say, in words.

In: the values of CFSR, HFSR, MMFAR and BFAR, and the number of the exception that was taken. Out: a
``FaultCause``: what kind of fault, every cause that is noted, the address where one is valid. The
bits are those of the Armv7-M Architecture Reference Manual (DDI 0403E), B3.2.15 and B3.2.16, and
STKOF of Armv8-M. Armv6-M has none of these registers: pass 0. Pure; any values are accepted.
"""

from __future__ import annotations

from dataclasses import dataclass

_MEMORY = {
    0: "instruction access violation (IACCVIOL)",
    1: "data access violation (DACCVIOL)",
    3: "violation while returning from an exception (MUNSTKERR)",
    4: "violation while entering an exception (MSTKERR)",
    5: "violation while saving floating-point state (MLSPERR)",
}
_BUS = {
    8: "instruction bus error (IBUSERR)",
    9: "precise data bus error (PRECISERR)",
    10: "imprecise data bus error (IMPRECISERR)",
    11: "bus error while returning from an exception (UNSTKERR)",
    12: "bus error while entering an exception (STKERR)",
    13: "bus error while saving floating-point state (LSPERR)",
}
_USAGE = {
    16: "undefined instruction (UNDEFINSTR)",
    17: "invalid state, such as a branch to an even address (INVSTATE)",
    18: "invalid return from an exception (INVPC)",
    19: "no coprocessor or FPU (NOCP)",
    20: "stack limit passed (STKOF)",
    24: "unaligned access (UNALIGNED)",
    25: "division by zero (DIVBYZERO)",
}
_HARD = {
    1: "vector table read failed (VECTTBL)",
    31: "breakpoint without a debugger (DEBUGEVT)",
}
_MMAR_VALID = 1 << 7
_BFAR_VALID = 1 << 15

# By number; others are interrupts.
_EXCEPTIONS = {
    2: "NMI",
    3: "hard fault",
    4: "memory management fault",
    5: "bus fault",
    6: "usage fault",
    7: "secure fault",
    11: "supervisor call",
    12: "debug monitor",
    14: "PendSV",
    15: "SysTick",
}


@dataclass(frozen=True)
class FaultCause:
    """``kind`` is the fault behind the exception, also where that was escalated to a hard fault."""

    kind: str
    causes: tuple[str, ...]
    address: int | None


def decode_faults(
    exception: int, cfsr: int, hfsr: int, mmfar: int = 0, bfar: int = 0
) -> FaultCause:
    """The registers in words; without any bit set the exception's own name is all there is."""
    groups = (
        ("memory management fault", _bits(cfsr, _MEMORY)),
        ("bus fault", _bits(cfsr, _BUS)),
        ("usage fault", _bits(cfsr, _USAGE)),
        ("hard fault", _bits(hfsr, _HARD)),
    )
    kinds = [kind for kind, causes in groups if causes]
    address = None
    if cfsr & _MMAR_VALID:
        address = mmfar
    elif cfsr & _BFAR_VALID:
        address = bfar
    return FaultCause(
        kind=kinds[0] if kinds else _exception_name(exception),
        causes=tuple(cause for _, causes in groups for cause in causes),
        address=address,
    )


def _bits(value: int, names: dict[int, str]) -> list[str]:
    return [name for bit, name in names.items() if value >> bit & 1]


def _exception_name(number: int) -> str:
    if number >= 16:
        return f"interrupt {number - 16}"
    return _EXCEPTIONS.get(number, f"exception {number}")
