"""Why a run ended that should not have: each fault as one ``DeviceError``.

In: what the native hooks and Unicorn saw. Out: an error that says what happened, where (address,
function and offset, operator), and what to look at; ``cfsr`` and ``address`` are what a real core
would put into its fault registers (Arm DDI 0403, B3.2.15). Assumes nothing but that the program
counter was read after the stop.
"""

from __future__ import annotations

from unicorn.unicorn_const import (
    UC_MEM_FETCH_PROT,
    UC_MEM_FETCH_UNMAPPED,
    UC_MEM_READ_PROT,
    UC_MEM_READ_UNMAPPED,
    UC_MEM_WRITE_PROT,
    UC_MEM_WRITE_UNMAPPED,
)

from utvm.support.errors import DeviceError

# Bits of the configurable fault status register.
_IACCVIOL, _IBUSERR, _PRECISERR, _BFARVALID = 1 << 0, 1 << 8, 1 << 9, 1 << 15
_UNDEFINSTR, _INVSTATE, _NOCP, _STKOF, _UNALIGNED = 1 << 16, 1 << 17, 1 << 19, 1 << 20, 1 << 24

_ACCESSES = {
    UC_MEM_READ_UNMAPPED: ("reads unmapped memory", "follow the pointer it reads through"),
    UC_MEM_WRITE_UNMAPPED: ("writes unmapped memory", "follow the pointer it writes through"),
    UC_MEM_FETCH_UNMAPPED: (
        "jumps to unmapped memory",
        "look for a bad function pointer or a return address that was overwritten",
    ),
    UC_MEM_READ_PROT: ("reads memory that cannot be read", "follow the pointer it reads through"),
    UC_MEM_WRITE_PROT: (
        "writes read-only memory",
        "follow the pointer it writes through; constants lie in flash",
    ),
    UC_MEM_FETCH_PROT: (
        "jumps to memory that cannot be executed",
        "look for a bad function pointer or a return address that was overwritten",
    ),
}
NOT_THUMB = 18
STACK_LIMIT = 19
BREAKPOINT = 7
FETCH_FORBIDDEN = UC_MEM_FETCH_PROT
# Numbers that Unicorn gives to the exceptions of the Arm profiles.
_EXCEPTIONS = {
    1: ("executes an undefined instruction", "compile for this core"),
    2: ("makes a supervisor call (svc)", "there is no operating system to answer it"),
    4: ("makes an access that is not aligned to its size", "align the buffer"),
    BREAKPOINT: ("hits a breakpoint", "an assertion of the program may have failed"),
    17: (
        "uses the floating-point unit, which this core lacks or has switched off",
        "compile for this core, or enable it in CPACR at start",
    ),
    NOT_THUMB: ("branches to an address without the Thumb bit", "look for a bad function pointer"),
    STACK_LIMIT: ("passes the stack limit", "give the program a larger stack"),
}
_EXCEPTION_CAUSES = {
    1: _UNDEFINSTR,
    4: _UNALIGNED,
    17: _NOCP,
    NOT_THUMB: _INVSTATE,
    STACK_LIMIT: _STKOF,
}


class CoreFaultError(DeviceError):
    """A fault with its cause as the core's registers would tell it; ``address`` is for BFAR."""

    cfsr: int = 0
    address: int = 0

    def with_cause(self, cfsr: int, address: int = 0) -> CoreFaultError:
        """Itself, with its cause."""
        self.cfsr, self.address = cfsr, address
        return self


def access_fault(kind: int, address: int, size: int, where: str) -> CoreFaultError:
    """A read, write or fetch that the memory map forbids."""
    what, hint = _ACCESSES.get(kind, ("makes a bad access", "follow the pointer it uses"))
    found = f"{size} bytes at {address:#010x}" if size > 1 else f"address {address:#010x}"
    error = CoreFaultError(f"the program {what}", where=where, found=found, hint=hint)
    if kind == UC_MEM_FETCH_PROT:
        return error.with_cause(_IACCVIOL)
    if kind == UC_MEM_FETCH_UNMAPPED:
        return error.with_cause(_IBUSERR)
    return error.with_cause(_PRECISERR | _BFARVALID, address)


def exception_fault(number: int, where: str) -> CoreFaultError:
    """A processor exception that is not a semihosting call."""
    what, hint = _EXCEPTIONS.get(number, (f"raises exception {number}", "look at the instruction"))
    error = CoreFaultError(f"the program {what}", where=where, hint=hint)
    return error.with_cause(_EXCEPTION_CAUSES.get(number, 0))


def undefined_fault(where: str, instruction: str = "") -> CoreFaultError:
    return CoreFaultError(
        "the program executes an undefined instruction",
        where=where,
        found=instruction,
        hint="compile for this core; or a jump went into data",
    ).with_cause(_UNDEFINSTR)


def stack_fault(where: str, stack_bytes: int, low: int, lowest: int) -> CoreFaultError:
    return CoreFaultError(
        "the stack overflows",
        where=where,
        expected=f"at most {stack_bytes} bytes of stack, down to {low:#010x}",
        found=f"stack pointer {lowest:#010x}",
        hint="give the program a larger stack, or look for endless recursion",
    )


def unaligned_fault(where: str, instruction: str, register: int, value: int) -> CoreFaultError:
    return CoreFaultError(
        "the program moves words at an address that is no multiple of 4",
        where=where,
        expected=f"an aligned base for {instruction}",
        found=f"r{register} = {value:#010x}",
        hint="align the buffer; LDM, LDRD and float accesses trap where LDR does not",
    ).with_cause(_UNALIGNED)


def limit_fault(where: str, limit: int) -> DeviceError:
    return DeviceError(
        "the program does not come to an end",
        where=where,
        expected=f"an exit within {limit} instructions",
        hint="look for an endless loop, or raise the instruction limit",
    )


def sleep_fault(where: str) -> DeviceError:
    return DeviceError(
        "the program waits for an interrupt that never comes",
        where=where,
        hint="end the program with a semihosting exit",
    )


def float_fault(where: str) -> CoreFaultError:
    return CoreFaultError(
        "the program uses the floating-point unit before switching it on",
        where=where,
        expected="full access to coprocessors 10 and 11 in CPACR (0xE000ED88)",
        hint="set bits 20 to 23 of CPACR in the start-up code",
    ).with_cause(_NOCP)


def stopped_fault(where: str, error: str) -> CoreFaultError:
    return CoreFaultError(
        "the emulator stopped", where=where, found=error, hint="look at the instruction"
    )
