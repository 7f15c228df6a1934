"""The debug registers of a Cortex-M, over an emulated core: a test tool.

In: a core that can be read, written and run in slices, and the profile of its kind. Out: what a
debugger finds on the core's private bus: DHCSR, DCRSR, DCRDR, DEMCR, DFSR, AIRCR, the breakpoint
unit, identification registers and ROM tables; all other addresses are the core's own memory.
Follows the Armv7-M Architecture Reference Manual (Arm DDI 0403E), section C1; names of
registers and bits are its own. Time passes for the core in ``poll`` and when DHCSR is read.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection
from typing import Protocol

from tests.probe.core_profile import CoreProfile

SLICE_INSTRUCTIONS = 200_000  # a few milliseconds: what a debugger may wait for an answer

# C1.6 and B3.2: addresses.
AIRCR, DFSR = 0xE000ED0C, 0xE000ED30
DHCSR, DCRSR, DCRDR, DEMCR = 0xE000EDF0, 0xE000EDF4, 0xE000EDF8, 0xE000EDFC
FP_CTRL, FP_REMAP, FP_COMP0 = 0xE0002000, 0xE0002004, 0xE0002008

# DHCSR, C1.6.2.
DEBUG_KEY = 0xA05F0000
C_DEBUGEN, C_HALT, C_STEP, C_MASKINTS = 1 << 0, 1 << 1, 1 << 2, 1 << 3
S_REGRDY, S_HALT, S_LOCKUP = 1 << 16, 1 << 17, 1 << 19
S_RETIRE_ST, S_RESET_ST = 1 << 24, 1 << 25
_CONTROLS = C_DEBUGEN | C_HALT | C_STEP | C_MASKINTS

# DEMCR, C1.6.5; DFSR, C1.6.1.
VC_CORERESET, VC_HARDERR, TRCENA = 1 << 0, 1 << 10, 1 << 24
_DEMCR_BITS = 0x010F07F1
DFSR_HALTED, DFSR_BKPT, DFSR_VCATCH = 1 << 0, 1 << 1, 1 << 3

# AIRCR, B3.2.6.
_VECTKEY, _VECTKEYSTAT = 0x05FA, 0xFA050000
_RESET_REQUESTS, _VECTCLRACTIVE = 1 << 2 | 1 << 0, 1 << 1
_IPSR = 0x1FF  # of xPSR: the exception that is being handled

# DCRSR, C1.6.3: what its field REGSEL says.
_WRITE = 1 << 16
_CORE_REGISTERS = {number: f"r{number}" for number in range(13)}
_CORE_REGISTERS |= {13: "sp", 14: "lr", 15: "pc", 16: "xpsr", 17: "msp", 18: "psp", 33: "fpscr"}
_CORE_REGISTERS |= {0x40 + number: f"s{number}" for number in range(32)}
_PACKED = 20  # these, from bit 0 on:
_PACKED_REGISTERS = ("primask", "basepri", "faultmask", "control")


class Stop(enum.Enum):
    """Why the core runs no further."""

    ADDRESS = "the next instruction lies at one of the addresses"
    LIMIT = "as many instructions as asked for have run"
    BKPT = "the next instruction is a bkpt"
    FAULT = "the core cannot go on"
    RESET = "the program asks for a reset"


class DebuggedCore(Protocol):
    """What is debugged. It runs only inside of ``run``."""

    def read(self, address: int, size_bytes: int) -> bytes:
        """Raises ``AccessFaultError`` where nothing is, as ``write`` does."""

    def write(self, address: int, data: bytes) -> None: ...

    def register(self, name: str) -> int:
        """r0 to r12, sp, lr, pc, xpsr, msp, psp, control, primask, basepri, faultmask, s0 to s31,
        fpscr."""

    def set_register(self, name: str, value: int) -> None: ...

    def run(self, stops: Collection[int], instruction_limit: int) -> Stop:
        """Executes nothing when ``pc`` is one of ``stops``."""

    def take_fault(self) -> bool:
        """Enters the handler for what the last run ended with, a fault or a bkpt; False if the
        core would lock up instead."""

    def reset(self) -> None:
        """The core is then before the first instruction of its reset handler."""


class CoreDebug:
    """The core's private bus as a debugger sees it; the core's memory behind it."""

    def __init__(self, core: DebuggedCore, profile: CoreProfile) -> None:
        self.core, self.profile = core, profile
        self._halted = self._lockup = self._in_reset = False
        self._controls = 0  # the C_ bits of DHCSR
        self._sticky = S_RESET_ST  # S_RETIRE_ST and S_RESET_ST: cleared when they are read
        self._ready = 0  # S_REGRDY
        self._dfsr = self._dcrdr = 0
        self._unit_enabled = False
        self._comparators = [0] * profile.breakpoints
        self._words = dict(profile.words)  # identification, and registers that only keep values
        self._readers: dict[int, Callable[[], int]] = {
            DHCSR: self._read_dhcsr,
            DCRSR: lambda: 0,
            DCRDR: lambda: self._dcrdr,
            DEMCR: lambda: self._read_core(DEMCR),
            DFSR: lambda: self._dfsr,
            AIRCR: lambda: _VECTKEYSTAT,
            FP_CTRL: self._read_fp_ctrl,
            FP_REMAP: lambda: 0,
        }
        self._writers: dict[int, Callable[[int], None]] = {
            DHCSR: self._write_dhcsr,
            DCRSR: self._write_dcrsr,
            DCRDR: self._write_dcrdr,
            DEMCR: self._write_demcr,
            DFSR: self._write_dfsr,
            AIRCR: self._write_aircr,
            FP_CTRL: self._write_fp_ctrl,
            FP_REMAP: lambda value: None,
        }
        core.reset()

    # The bus.

    def read(self, address: int, size_bytes: int) -> int:
        """An aligned access of 1, 2 or 4 bytes; ``AccessFaultError`` if nothing is there."""
        word = self._read_register(address & ~3)
        if word is None:
            return int.from_bytes(self.core.read(address, size_bytes), "little")
        return (word >> 8 * (address & 3)) & ((1 << 8 * size_bytes) - 1)

    def write(self, address: int, value: int, size_bytes: int) -> None:
        """See ``read``. A part of a register is written with the rest of its value."""
        aligned = address & ~3
        word = self._read_register(aligned) if size_bytes < 4 else 0
        shift, mask = 8 * (address & 3), (1 << 8 * size_bytes) - 1
        word = ((word or 0) & ~(mask << shift)) | (value & mask) << shift
        if not self._write_register(aligned, word):
            self.core.write(address, (value & mask).to_bytes(size_bytes, "little"))

    def _read_register(self, address: int) -> int | None:
        if address in self._readers:
            return self._readers[address]()
        if (index := self._comparator(address)) is not None:
            return self._comparators[index]
        if address in self._words:
            return self._words[address]
        return 0 if self.profile.is_identification(address) else None

    def _write_register(self, address: int, value: int) -> bool:
        """Whether there is such a register."""
        if address in self._writers:
            self._writers[address](value)
        elif (index := self._comparator(address)) is not None:
            self._comparators[index] = value
        elif address in self.profile.kept:
            self._words[address] = value
        else:
            return address in self._words or self.profile.is_identification(address)
        return True

    # Running.

    def poll(self) -> None:
        """Lets a core that is not halted run for a slice."""
        if not (self._halted or self._lockup or self._in_reset):
            self._run(SLICE_INSTRUCTIONS)

    def hold_reset(self, asserted: bool) -> None:
        """The core's reset line; its release resets the core."""
        if self._in_reset and not asserted:
            self._in_reset = False
            self._reset()
        self._in_reset = asserted
        if asserted:
            self._sticky |= S_RESET_ST

    @property
    def halted(self) -> bool:
        """Whether the core is in debug state."""
        return self._halted

    def _run(self, instruction_limit: int) -> None:
        breakpoints = self._breakpoints() if self._controls & C_DEBUGEN else ()
        stop = self.core.run(breakpoints, instruction_limit)
        self._sticky |= S_RETIRE_ST
        match stop:
            case Stop.ADDRESS:
                self._halt(DFSR_BKPT)
            case Stop.BKPT if self._controls & C_DEBUGEN:
                self._halt(DFSR_BKPT)
            case Stop.FAULT | Stop.BKPT:
                self._fault()
            case Stop.RESET:
                self._reset()
            case Stop.LIMIT:
                pass

    def _fault(self) -> None:
        """The core enters its handler, and halts there if that is caught, or locks up."""
        if not self.core.take_fault():
            self._lockup = True
        elif self._controls & C_DEBUGEN and self._read_core(DEMCR) & VC_HARDERR:
            self._halt(DFSR_VCATCH)

    def _halt(self, cause: int) -> None:
        self._halted, self._lockup = True, False
        self._controls |= C_HALT
        self._dfsr |= cause

    def _reset(self) -> None:
        """C1.4: a local reset; what a debugger has set stays, but for C_HALT."""
        self.core.reset()
        self._sticky = (self._sticky | S_RESET_ST) & ~S_RETIRE_ST
        self._halted = self._lockup = False
        self._controls &= ~C_HALT
        if self._controls & C_DEBUGEN and self._read_core(DEMCR) & VC_CORERESET:
            self._halt(DFSR_VCATCH)

    # Registers.

    def _read_dhcsr(self) -> int:
        self.poll()
        value = self._controls | self._ready | self._sticky
        value |= S_HALT if self._halted else 0
        value |= S_LOCKUP if self._lockup else 0
        self._sticky = S_RESET_ST if self._in_reset else 0
        return value

    def _write_dhcsr(self, value: int) -> None:
        if value & 0xFFFF0000 != DEBUG_KEY:
            return
        controls = value & _CONTROLS if value & C_DEBUGEN else 0
        self._controls = controls
        if controls & C_HALT:
            if not self._halted and not self._in_reset:
                self._halt(DFSR_HALTED)
        elif self._halted:
            self._halted = False
            if controls & C_STEP:
                self._step()

    def _step(self) -> None:
        self._run(1)
        if not (self._halted or self._lockup):
            self._halt(DFSR_HALTED)

    def _write_dcrsr(self, value: int) -> None:
        self._ready = 0
        number = value & 0x7F
        if not self._halted:
            return
        if value & _WRITE:
            self._set_register(number, self._dcrdr)
        else:
            self._dcrdr = self._register(number)
        self._ready = S_REGRDY

    def _register(self, number: int) -> int:
        """A register that there is not reads as zero."""
        if number == _PACKED:
            values = (self.core.register(name) for name in _PACKED_REGISTERS)
            return sum((value & 0xFF) << 8 * index for index, value in enumerate(values))
        return self.core.register(_CORE_REGISTERS[number]) if number in _CORE_REGISTERS else 0

    def _set_register(self, number: int, value: int) -> None:
        if number == _PACKED:
            for index, name in enumerate(_PACKED_REGISTERS):
                self.core.set_register(name, value >> 8 * index & 0xFF)
        elif number in _CORE_REGISTERS:
            self.core.set_register(_CORE_REGISTERS[number], value)

    def _read_core(self, address: int) -> int:
        return int.from_bytes(self.core.read(address, 4), "little")

    def _write_dcrdr(self, value: int) -> None:
        self._dcrdr = value

    def _write_demcr(self, value: int) -> None:
        """The core's own register: programs switch the cycle counter on with it."""
        self.core.write(DEMCR, (value & _DEMCR_BITS).to_bytes(4, "little"))

    def _write_dfsr(self, value: int) -> None:
        self._dfsr &= ~value

    def _write_aircr(self, value: int) -> None:
        if value >> 16 != _VECTKEY:
            return
        if value & _RESET_REQUESTS:
            self._reset()
        elif value & _VECTCLRACTIVE and self._halted:
            self.core.set_register("xpsr", self.core.register("xpsr") & ~_IPSR)

    # The breakpoint unit, C1.11.

    def _read_fp_ctrl(self) -> int:
        count, literals = self.profile.breakpoints, self.profile.literals
        value = (self.profile.breakpoint_version - 1) << 28 | (count >> 4) << 12
        return value | literals << 8 | (count & 0xF) << 4 | int(self._unit_enabled)

    def _write_fp_ctrl(self, value: int) -> None:
        if value & 2:  # KEY
            self._unit_enabled = bool(value & 1)

    def _comparator(self, address: int) -> int | None:
        index, rest = divmod(address - FP_COMP0, 4)
        return index if not rest and 0 <= index < len(self._comparators) else None

    def _breakpoints(self) -> set[int]:
        if not self._unit_enabled:
            return set()
        if self.profile.breakpoint_version == 2:
            return {value & ~1 for value in self._comparators if value & 1}
        found = set()
        for value in self._comparators:
            # REPLACE: 1 for the lower halfword of the word, 2 for the upper one, 3 for both.
            for half in (0, 1):
                if value & 1 and (value >> 30) & (1 << half):
                    found.add((value & 0x1FFFFFFC) + 2 * half)
        return found
