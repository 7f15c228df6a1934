"""Exceptions of the emulated core: HardFault and SysTick, entered and left as on a real one.

In: the core, its system registers, and for a fault what the fault registers shall say. Out: the
core at the first instruction of the handler, with the frame on the stack (Arm DDI 0403, B1.5.6), or
back where it was. Simplified: one level of SysTick, one of HardFault above it, and the main stack;
float registers are stored in no frame, so a handler of SysTick must leave them alone.
"""

from __future__ import annotations

from utvm.device import emulator_system as system
from utvm.device.emulator_core import Core

THUMB = 1 << 24  # of xPSR
FORCED = 1 << 30  # of HFSR: a fault that has no handler of its own

_HARD_FAULT, _SYSTICK = 3, 15
_FRAME = ("r0", "r1", "r2", "r3", "r12", "lr", "pc")  # and xPSR behind them
_FRAME_BYTES = 32
_EXCEPTION_NUMBER = 0x1FF
_ALIGNED_FRAME = 1 << 9
_STKERR, _BFARVALID = 1 << 12, 1 << 15
_TO_THREAD, _TO_HANDLER = 0xFFFFFFF9, 0xFFFFFFF1
_RETURNS = 0xFFFFFF00  # from here up all addresses are such


def enter_hard_fault(
    core: Core, registers: system.SystemRegisters, cfsr: int, hfsr: int, address: int
) -> bool:
    """False, and nothing done, if the core would lock up: in that handler already, or no vector."""
    xpsr = core.register("xpsr")
    handler = _handler(core, registers, _HARD_FAULT)
    if xpsr & _EXCEPTION_NUMBER == _HARD_FAULT or handler is None:
        return False
    if not _push_frame(core, xpsr):
        cfsr |= _STKERR
    if registers.cpu != "cortex-m0plus":  # Armv6-M has no fault registers
        _set_bits(registers, system.CFSR, cfsr)
        _set_bits(registers, system.HFSR, hfsr)
        if cfsr & _BFARVALID:
            registers.words[system.BFAR] = address
    _go_to(core, registers, _HARD_FAULT, handler, xpsr)
    return True


def enter_systick(core: Core, registers: system.SystemRegisters) -> bool:
    """False, and nothing done, while another exception is active or exceptions are masked."""
    xpsr = core.register("xpsr")
    handler = _handler(core, registers, _SYSTICK)
    if xpsr & _EXCEPTION_NUMBER or core.register("primask") & 1 or handler is None:
        return False
    _push_frame(core, xpsr)
    _go_to(core, registers, _SYSTICK, handler, xpsr)
    return True


def leave_exception(core: Core, registers: system.SystemRegisters) -> bool:
    """The return from a handler: what the frame holds goes back to the registers.

    False, and nothing done, unless a handler has jumped to what it found in ``lr``: a place that
    holds no code, so that the run ended there.
    """
    if core.pc < _RETURNS or not core.register("xpsr") & _EXCEPTION_NUMBER:
        return False
    sp = core.register("sp")
    frame = core.read(sp, _FRAME_BYTES)
    values = [int.from_bytes(frame[at : at + 4], "little") for at in range(0, _FRAME_BYTES, 4)]
    core.set_register("xpsr", values[7] & ~_ALIGNED_FRAME)
    for name, value in zip(_FRAME, values, strict=False):
        core.set_register(name, value)
    core.set_register("sp", sp + _FRAME_BYTES + (4 if values[7] & _ALIGNED_FRAME else 0))
    registers.words[system.ICSR] = values[7] & _EXCEPTION_NUMBER
    return True


def _handler(core: Core, registers: system.SystemRegisters, number: int) -> int | None:
    """Where the vector table leads, if that is anywhere."""
    vector = registers.words[system.VTOR] + 4 * number
    if core.find(vector, 4) is None:
        return None
    handler = int.from_bytes(core.read(vector, 4), "little")
    return handler if handler & 1 and core.find(handler & ~1, 2) is not None else None


def _go_to(
    core: Core, registers: system.SystemRegisters, number: int, handler: int, xpsr: int
) -> None:
    registers.words[system.ICSR] = number
    core.set_register("lr", _TO_HANDLER if xpsr & _EXCEPTION_NUMBER else _TO_THREAD)
    core.set_register("xpsr", THUMB | number)
    core.set_register("pc", handler)


def _set_bits(registers: system.SystemRegisters, offset: int, bits: int) -> None:
    registers.words[offset] = registers.words.get(offset, 0) | bits


def _push_frame(core: Core, xpsr: int) -> bool:
    """The eight registers that every exception stores; False if they find no memory."""
    sp = core.register("sp")
    frame = [core.register(name) for name in _FRAME]
    frame.append(xpsr | THUMB | (_ALIGNED_FRAME if sp & 4 else 0))
    low = max((sp & ~7) - _FRAME_BYTES, 0)
    core.set_register("sp", low)
    memory = core.find(low, _FRAME_BYTES)
    if memory is None or not memory.writable:
        return False
    core.write(low, b"".join(value.to_bytes(4, "little") for value in frame))
    return True
