"""An STM32F746 to debug that is not there: the emulated core behind a virtual debug port.

In: nothing, or a program for its flash memory. Out: a ``DebugPort`` for a probe or a JTAG chain.
Memories are those of RM0385, section 2.2.2; option bytes that boot from 0x08000000 are assumed. The
core can write to its RAMs only, and a debugger as well: flash memory would take the commands of its
controller, which is not there. Without a program the core loops in its reset handler.
"""

from __future__ import annotations

import struct
from collections.abc import Collection

from tests.probe.core_debug import CoreDebug, Stop
from tests.probe.core_profile import STM32F746
from tests.probe.debug_port import DebugPort
from utvm.device.emulated_machine import EmulatedMachine, Reason
from utvm.device.emulator_core import MemoryRegion
from utvm.device.emulator_faults import CoreFaultError
from utvm.device.memory_access import AccessFaultError
from utvm.support.errors import DeviceError

FLASH, DTCM, SRAM = 0x08000000, 0x20000000, 0x20010000
MEMORIES = (
    MemoryRegion("itcm", 0x00000000, 0x4000, writable=True, executable=True),
    MemoryRegion("flash", FLASH, 0x100000, writable=False, executable=True),
    MemoryRegion("dtcm", DTCM, 0x10000, writable=True, executable=True),
    MemoryRegion("sram", SRAM, 0x40000, writable=True, executable=True),
)
_LOOP = b"\xfe\xe7"  # b .
_VECTORS = 16
IDLE = struct.pack(f"<{_VECTORS}I", SRAM + 0x40000, *[FLASH + 4 * _VECTORS + 1] * 15) + _LOOP

_FORCED, _DEBUGEVT = 1 << 30, 1 << 31  # HFSR: a fault without handler of its own; a bkpt
_STOPS = {
    Reason.ADDRESS: Stop.ADDRESS,
    Reason.LIMIT: Stop.LIMIT,
    Reason.BREAKPOINT: Stop.BKPT,
    Reason.FAULT: Stop.FAULT,
    Reason.SLEEP: Stop.LIMIT,
    Reason.RESET: Stop.RESET,
}


class EmulatedCore:
    """The emulated machine as the debug registers want it (``DebuggedCore``)."""

    def __init__(self, flash: bytes) -> None:
        self.machine = EmulatedMachine("cortex-m7", "cortex-m7", MEMORIES)
        self.machine.write(FLASH, flash)
        self._fault: CoreFaultError | None = None

    def read(self, address: int, size_bytes: int) -> bytes:
        try:
            return self.machine.read(address, size_bytes)
        except DeviceError as error:
            raise AccessFaultError(error.what) from error

    def write(self, address: int, data: bytes) -> None:
        if FLASH <= address < FLASH + 0x100000:
            raise AccessFaultError("flash memory is locked")
        try:
            self.machine.write(address, data)
        except DeviceError as error:
            raise AccessFaultError(error.what) from error

    def register(self, name: str) -> int:
        return self.machine.register(name)

    def set_register(self, name: str, value: int) -> None:
        self.machine.set_register(name, value)

    def run(self, stops: Collection[int], instruction_limit: int) -> Stop:
        if self.machine.register("pc") in stops:
            return Stop.ADDRESS
        stop = self.machine.run(stops, instruction_limit)
        self._fault = stop.fault
        return _STOPS[stop.reason]

    def take_fault(self) -> bool:
        if self._fault is None:
            return self.machine.take_fault(0, _DEBUGEVT)
        return self.machine.take_fault(self._fault.cfsr, _FORCED, self._fault.address)

    def reset(self) -> None:
        self.machine.reset()


def virtual_chip(*, jtag: bool = False, flash: bytes = IDLE) -> DebugPort:
    """The chip after power-on; ``flash`` begins with the vector table."""
    return DebugPort(CoreDebug(EmulatedCore(flash), STM32F746), jtag=jtag)
