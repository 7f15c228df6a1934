"""The processor and its memories: a thin layer over Unicorn, which nothing else here touches.

In: the name of a core, the board's memories, handlers of memory-mapped registers. Out: a ``Core``
to run, read and write, with its registers by name. Unicorn is opened in plain Thumb mode, since its
M-class mode always yields a Cortex-M33. Registers are accessed by words only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from unicorn import (  # type: ignore[attr-defined]
    UC_ARCH_ARM,
    UC_HOOK_BLOCK,
    UC_HOOK_INTR,
    UC_HOOK_MEM_INVALID,
    UC_HOOK_TLB_FILL,
    UC_MODE_THUMB,
    UC_PROT_EXEC,
    UC_PROT_READ,
    UC_PROT_WRITE,
    UC_TLB_VIRTUAL,
    Uc,
    UcError,
    arm_const,
)
from unicorn.unicorn_py3.unicorn import uclib

from utvm.device.emulator_hooks import Machine
from utvm.support.errors import DeviceError, InputError, InternalError

_MODELS = {
    "cortex-m0plus": arm_const.UC_CPU_ARM_CORTEX_M0,
    "cortex-m3": arm_const.UC_CPU_ARM_CORTEX_M3,
    "cortex-m4": arm_const.UC_CPU_ARM_CORTEX_M4,
    "cortex-m7": arm_const.UC_CPU_ARM_CORTEX_M7,
    "cortex-m33": arm_const.UC_CPU_ARM_CORTEX_M33,
}
R0_REGISTER = arm_const.UC_ARM_REG_R0
SP_REGISTER = arm_const.UC_ARM_REG_SP
LR_REGISTER = arm_const.UC_ARM_REG_LR
XPSR_REGISTER = arm_const.UC_ARM_REG_XPSR
_CPSR_REGISTER = arm_const.UC_ARM_REG_CPSR
_PC_REGISTER = arm_const.UC_ARM_REG_PC
_REGISTERS = {
    **{f"r{number}": R0_REGISTER + number for number in range(13)},
    **{f"s{number}": arm_const.UC_ARM_REG_S0 + number for number in range(32)},
    "sp": SP_REGISTER,
    "lr": LR_REGISTER,
    "xpsr": XPSR_REGISTER,
    "msp": arm_const.UC_ARM_REG_MSP,
    "psp": arm_const.UC_ARM_REG_PSP,
    "control": arm_const.UC_ARM_REG_CONTROL,
    "primask": arm_const.UC_ARM_REG_PRIMASK,
    "basepri": arm_const.UC_ARM_REG_BASEPRI,
    "faultmask": arm_const.UC_ARM_REG_FAULTMASK,
    "fpscr": arm_const.UC_ARM_REG_FPSCR,
}
_THUMB_STATE = 1 << 5
_PAGE = 4096
_NOWHERE = 0xFFFFFFFF  # no instruction lies at an odd address: the run ends only by a stop

Read = Callable[[int], int]
Write = Callable[[int, int], None]


@dataclass(frozen=True)
class MemoryRegion:
    """A memory of the board; sizes are rounded up to whole pages of 4 KiB."""

    name: str
    origin: int
    size: int
    writable: bool
    executable: bool


class Core:
    """One processor with its memories."""

    def __init__(self, cpu: str, memories: Sequence[MemoryRegion]) -> None:
        if cpu not in _MODELS:
            raise InputError("unknown core", expected=" or ".join(_MODELS), found=cpu)
        self.memories = tuple(memories)
        # Unicorn's annotations are partial.
        self._uc = cast(Any, Uc)(UC_ARCH_ARM, UC_MODE_THUMB)
        self._uc.ctl_set_cpu_model(_MODELS[cpu])
        self._keep: list[Any] = []  # what C holds pointers to
        self._registers: list[tuple[int, int, Read, Write]] = []
        self._counted = False  # whether it last ran for a number of instructions
        self.pc = 0
        for memory in self.memories:
            self._map(memory)

    def _map(self, memory: MemoryRegion) -> None:
        rights = UC_PROT_READ
        rights |= UC_PROT_WRITE if memory.writable else 0
        rights |= UC_PROT_EXEC if memory.executable else 0
        try:
            self._uc.mem_map(memory.origin, _pages(memory.size), rights)
        except UcError as error:
            raise InputError(
                "the emulator cannot map this memory",
                where=memory.name,
                expected="an origin at a multiple of 4096 and no overlap",
                found=f"{memory.size} bytes at {memory.origin:#010x}",
            ) from error

    def map_registers(self, base: int, size: int, read: Read, write: Write) -> None:
        """Words at ``base`` (whole pages) are read and written by calls, with offsets from it."""

        def on_read(uc: Any, offset: int, size: int, data: Any) -> int:
            return read(offset & ~3) >> 8 * (offset & 3)

        def on_write(uc: Any, offset: int, size: int, value: int, data: Any) -> None:
            write(offset & ~3, value << 8 * (offset & 3))

        try:
            self._uc.mmio_map(base, _pages(size), on_read, None, on_write, None)
        except UcError as error:
            raise InputError(
                "the emulator cannot map these registers", found=f"{size} bytes at {base:#010x}"
            ) from error
        self._registers.append((base, size, read, write))

    def find(self, address: int, size: int) -> MemoryRegion | None:
        """The memory that holds all of these bytes."""
        for memory in self.memories:
            if memory.origin <= address and address + size <= memory.origin + memory.size:
                return memory
        return None

    def find_or_refuse(self, address: int, size: int, where: str, hint: str = "") -> MemoryRegion:
        """As ``find``, or a ``DeviceError`` with the memories that there are."""
        memory = self.find(address, size)
        if memory is None:
            known = ", ".join(f"{m.name} at {m.origin:#010x}+{m.size:#x}" for m in self.memories)
            raise DeviceError(
                f"{size} bytes at {address:#010x} lie in no memory of the board",
                where=where,
                expected=known,
                hint=hint,
            )
        return memory

    def attach(self, library: Any, machine: Machine) -> None:
        """Lets the native hooks see every block, every exception and every bad access."""
        self._keep.append(machine)
        everywhere = (1, 0)  # an empty range means all addresses
        self._hook(UC_HOOK_BLOCK, library.emulator_on_block, machine, everywhere)
        self._hook(UC_HOOK_INTR, library.emulator_on_interrupt, machine, everywhere)
        self._uc.ctl_set_tlb_mode(UC_TLB_VIRTUAL)
        self._hook(UC_HOOK_TLB_FILL, library.emulator_on_page, machine, everywhere)
        # Stores are slow, by a factor of ten, to memory that this kind of hook covers.
        for span in self._outside_writable_memory():
            self._hook(UC_HOOK_MEM_INVALID, library.emulator_on_invalid_memory, machine, span)

    def _hook(self, kind: int, function: Any, machine: Machine, span: tuple[int, int]) -> None:
        status = uclib.uc_hook_add(
            self._uc._uch,
            ctypes.byref(ctypes.c_size_t()),
            kind,
            ctypes.cast(function, ctypes.c_void_p),
            ctypes.cast(ctypes.pointer(machine), ctypes.c_void_p),
            ctypes.c_uint64(span[0]),
            ctypes.c_uint64(span[1]),
        )
        if status:
            raise InternalError(f"Unicorn refuses a hook (status {status})")

    def _outside_writable_memory(self) -> list[tuple[int, int]]:
        """First and last address of each stretch without writable memory."""
        spans, free = [], 0
        for memory in sorted(self.memories, key=lambda memory: memory.origin):
            if memory.writable:
                if free < memory.origin:
                    spans.append((free, memory.origin - 1))
                free = memory.origin + _pages(memory.size)
        return [*spans, (free, 0xFFFFFFFF)]

    @staticmethod
    def native_functions() -> tuple[int | None, int | None]:
        """Addresses of Unicorn's stop and register-read functions, for the native hooks."""
        return tuple(  # type: ignore[return-value]
            ctypes.cast(function, ctypes.c_void_p).value
            for function in (uclib.uc_emu_stop, uclib.uc_reg_read)
        )

    def run(self, instructions: int = 0) -> str:
        """Runs from ``pc`` until a hook stops it, or for a number of instructions that is not 0.

        The result is the name of Unicorn's error, or "".
        """
        if bool(instructions) != self._counted:
            # What was translated for the one way of running does not stop in the other.
            self._uc.ctl_flush_tb()
            self._counted = bool(instructions)
        try:
            self._uc.emu_start(self.pc | 1, _NOWHERE, count=instructions)
        except UcError as error:
            self.pc = self._uc.reg_read(_PC_REGISTER)
            return str(error)
        self.pc = self._uc.reg_read(_PC_REGISTER)
        return ""

    def stop(self) -> None:
        """Ends ``run`` soon; for handlers of registers."""
        self._uc.emu_stop()

    def register(self, name: str) -> int:
        """Any of ``r0`` to ``r12``, ``sp``, ``lr``, ``pc``, ``xpsr``, ``s0`` and so on."""
        if name == "pc":
            return self.pc
        value: int = self._uc.reg_read(_known_register(name))
        return value

    def set_register(self, name: str, value: int) -> None:
        """See ``register``."""
        if name == "pc":
            self.pc = value & ~1
        else:
            self._uc.reg_write(_known_register(name), value)

    @property
    def sp(self) -> int:
        return self.register("sp")

    def read(self, address: int, size: int) -> bytes:
        """Any bytes of memories, or registers by words."""
        for base, room, read, _ in self._registers:
            if base <= address < base + room:
                words = b"".join(
                    read(at).to_bytes(4, "little")
                    for at in range((address - base) & ~3, address - base + size, 4)
                )
                return words[address & 3 :][:size]
        try:
            return bytes(self._uc.mem_read(address, size))
        except UcError:
            self.find_or_refuse(address, size, "read")
            raise

    def write(self, address: int, data: bytes) -> None:
        """See ``read``; also to memory that the program cannot write."""
        for base, room, _, write in self._registers:
            if base <= address < base + room:
                for at in range(0, len(data), 4):
                    write(address - base + at, int.from_bytes(data[at : at + 4], "little"))
                return
        try:
            self._uc.mem_write(address, data)
        except UcError:
            self.find_or_refuse(address, len(data), "write")
            raise

    def retranslate(self, address: int, size: int) -> None:
        """Makes what was written the code that runs. Only for places that have run: what they hold
        is taken for code, and storing there becomes slow."""
        self._uc.ctl_remove_cache(address, address + size)

    def in_thumb_state(self) -> bool:
        """The only state a Cortex-M has; a jump to an even address leaves it, then all is lost."""
        return bool(self._uc.reg_read(_CPSR_REGISTER) & _THUMB_STATE)


def _known_register(name: str) -> int:
    if name not in _REGISTERS:
        raise InputError("unknown register", expected="pc, " + ", ".join(_REGISTERS), found=name)
    return _REGISTERS[name]


def _pages(size: int) -> int:
    """``size`` rounded up to whole pages."""
    return -(-size // _PAGE) * _PAGE
