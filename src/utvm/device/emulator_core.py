"""The processor and its memories: a thin layer over Unicorn, which nothing else here touches.

In: the name of a core, the board's memories, a linked program. Out: a ``Core`` to run, read and
write. Unicorn is opened in plain Thumb mode, since its M-class mode always yields a Cortex-M33.
Assumes a vector table at the start of flash: the first executable memory that is not writable.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
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

from utvm.device.elf import ElfImage
from utvm.device.emulator_hooks import Machine
from utvm.support.errors import DeviceError, InputError, InternalError

_MODELS = {
    "cortex-m0plus": arm_const.UC_CPU_ARM_CORTEX_M0,
    "cortex-m3": arm_const.UC_CPU_ARM_CORTEX_M3,
    "cortex-m4": arm_const.UC_CPU_ARM_CORTEX_M4,
    "cortex-m7": arm_const.UC_CPU_ARM_CORTEX_M7,
    "cortex-m33": arm_const.UC_CPU_ARM_CORTEX_M33,
}
SP_REGISTER = arm_const.UC_ARM_REG_SP
LR_REGISTER = arm_const.UC_ARM_REG_LR
_XPSR_REGISTER = arm_const.UC_ARM_REG_CPSR
_THUMB_STATE = 1 << 5
_PC_REGISTER = arm_const.UC_ARM_REG_PC
R0_REGISTER = arm_const.UC_ARM_REG_R0
_PAGE = 4096
_NOWHERE = 0xFFFFFFFF  # no instruction lies at an odd address: the run ends only by a stop

# The system control space holds registers; as plain memory it lets start-up code set them.
_SYSTEM_CONTROL = 0xE000E000
_COPROCESSOR_ACCESS = 0xE000ED88


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
        for memory in self.memories:
            self._map(memory)
        self._uc.mem_map(_SYSTEM_CONTROL, _PAGE, UC_PROT_READ | UC_PROT_WRITE)

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

    def load(self, image: ElfImage) -> None:
        """Puts every segment at its load address and the core into its state after reset."""
        for segment in image.segments:
            self._memory_at(segment.paddr, len(segment.data), str(image.path))
            self._memory_at(segment.vaddr, segment.memsz, str(image.path))
            self._uc.mem_write(segment.paddr, segment.data)
        vectors = min(self.memories, key=lambda m: (not m.executable, m.writable))
        table = self._uc.mem_read(vectors.origin, 8)
        sp, pc = (int.from_bytes(table[at : at + 4], "little") for at in (0, 4))
        if not pc & 1 or self._find(pc & ~1, 2) is None or self._find(sp - 4, 4) is None:
            raise DeviceError(
                "the program has no valid vector table",
                where=str(image.path),
                expected=f"a stack pointer and a Thumb reset address at {vectors.origin:#010x}",
                found=f"{sp:#010x} and {pc:#010x}",
                hint="keep the vector table section in the link, first in flash",
            )
        self._uc.reg_write(SP_REGISTER, sp)
        self._uc.reg_write(LR_REGISTER, 0xFFFFFFFF)
        self.initial_sp, self.pc = sp, pc & ~1

    def _find(self, address: int, size: int) -> MemoryRegion | None:
        for memory in self.memories:
            if memory.origin <= address and address + size <= memory.origin + memory.size:
                return memory
        return None

    def _memory_at(self, address: int, size: int, where: str) -> MemoryRegion:
        memory = self._find(address, size)
        if memory is None:
            known = ", ".join(f"{m.name} at {m.origin:#010x}+{m.size:#x}" for m in self.memories)
            raise DeviceError(
                f"{size} bytes at {address:#010x} lie in no memory of the board",
                where=where,
                expected=known,
                hint="link with the board's linker script",
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

    def run(self) -> str:
        """Runs from ``pc`` until a hook stops it; the name of Unicorn's error, or ""."""
        try:
            self._uc.emu_start(self.pc | 1, _NOWHERE)
        except UcError as error:
            self.pc = self._uc.reg_read(_PC_REGISTER)
            return str(error)
        self.pc = self._uc.reg_read(_PC_REGISTER)
        return ""

    def register(self, number: int) -> int:
        """Core register 0 to 12."""
        value: int = self._uc.reg_read(R0_REGISTER + number)
        return value

    def set_register(self, number: int, value: int) -> None:
        self._uc.reg_write(R0_REGISTER + number, value)

    @property
    def sp(self) -> int:
        value: int = self._uc.reg_read(SP_REGISTER)
        return value

    def read_code(self, address: int, size: int) -> bytes:
        return bytes(self._uc.mem_read(address, size))

    def read(self, address: int, size: int) -> bytes:
        """For semihosting: the pointer is the program's, so it is checked first."""
        if size == 0:
            return b""
        self._memory_at(address, size, "semihosting")
        return bytes(self._uc.mem_read(address, size))

    def write(self, address: int, data: bytes) -> None:
        if not data:
            return
        memory = self._memory_at(address, len(data), "semihosting")
        if not memory.writable:
            raise DeviceError(
                f"the program wants {len(data)} bytes read into read-only memory",
                where=f"{memory.name} at {address:#010x}",
            )
        self._uc.mem_write(address, data)

    def in_thumb_state(self) -> bool:
        """The only state a Cortex-M has; a jump to an even address leaves it, then all is lost."""
        return bool(self._uc.reg_read(_XPSR_REGISTER) & _THUMB_STATE)

    def float_unit_is_on(self) -> bool:
        """Whether the program gave itself full access to coprocessors 10 and 11."""
        access = int.from_bytes(self._uc.mem_read(_COPROCESSOR_ACCESS, 4), "little")
        return (access >> 20) & 0xF == 0xF


def _pages(size: int) -> int:
    """``size`` rounded up to whole pages."""
    return -(-size // _PAGE) * _PAGE
