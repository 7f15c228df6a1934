"""What a fault does to the emulated core: it enters the handler of a HardFault, as real ones do.

In: the core, its system registers, and what the fault registers shall say. Out: the core at the
first instruction of its handler, with the frame on the stack (Arm DDI 0403, B1.5.6). Simplified:
the main stack, no frame for float registers, no other handlers, and no way back, since nothing
returns from a fault here.
"""

from __future__ import annotations

from utvm.device import emulator_system as system
from utvm.device.emulator_core import Core

THUMB = 1 << 24  # of xPSR
FORCED = 1 << 30  # of HFSR: a fault that has no handler of its own

_HARD_FAULT = 3
_EXCEPTION_NUMBER = 0x1FF
_ALIGNED_FRAME = 1 << 9
_STKERR, _BFARVALID = 1 << 12, 1 << 15
_TO_THREAD, _TO_HANDLER = 0xFFFFFFF9, 0xFFFFFFF1


def enter_hard_fault(
    core: Core, registers: system.SystemRegisters, cfsr: int, hfsr: int, address: int
) -> bool:
    """False, and nothing done, if the core would lock up: in that handler already, or no vector."""
    xpsr = core.register("xpsr")
    vector = registers.words[system.VTOR] + 4 * _HARD_FAULT
    if xpsr & _EXCEPTION_NUMBER == _HARD_FAULT or core.find(vector, 4) is None:
        return False
    handler = int.from_bytes(core.read(vector, 4), "little")
    if not handler & 1 or core.find(handler & ~1, 2) is None:
        return False
    if not _push_frame(core, xpsr):
        cfsr |= _STKERR
    if registers.cpu != "cortex-m0plus":  # Armv6-M has no fault registers
        _set_bits(registers, system.CFSR, cfsr)
        _set_bits(registers, system.HFSR, hfsr)
        if cfsr & _BFARVALID:
            registers.words[system.BFAR] = address
    registers.words[system.ICSR] = _HARD_FAULT
    core.set_register("lr", _TO_HANDLER if xpsr & _EXCEPTION_NUMBER else _TO_THREAD)
    core.set_register("xpsr", THUMB | _HARD_FAULT)
    core.set_register("pc", handler)
    return True


def _set_bits(registers: system.SystemRegisters, offset: int, bits: int) -> None:
    registers.words[offset] = registers.words.get(offset, 0) | bits


def _push_frame(core: Core, xpsr: int) -> bool:
    """The eight registers that every exception stores; False if they find no memory."""
    sp = core.register("sp")
    frame = [core.register(name) for name in ("r0", "r1", "r2", "r3", "r12", "lr", "pc")]
    frame.append(xpsr | THUMB | (_ALIGNED_FRAME if sp & 4 else 0))
    low = max((sp & ~7) - 32, 0)
    core.set_register("sp", low)
    memory = core.find(low, 32)
    if memory is None or not memory.writable:
        return False
    core.write(low, b"".join(value.to_bytes(4, "little") for value in frame))
    return True
