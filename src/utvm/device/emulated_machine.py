"""An emulated Cortex-M that is run piece by piece: memory, registers, counts, faults.

In: the name of a core, a cycle model, the board's memories. Out: an ``EmulatedMachine`` whose
memory (code, too) and registers are read and written while it stands still, and which runs up to
an address, an instruction count, a breakpoint instruction or a fault. Counting is done by native
hooks (emulator_hooks.py) that stop whenever something new or rare happens; the loop in ``run``
deals with each stop. However a run is cut into pieces, its instructions and cycles stay the same.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Collection, Sequence

from utvm.device import emulator_faults as faults
from utvm.device import emulator_hooks as hooks
from utvm.device import emulator_system as system
from utvm.device.elf import ElfImage
from utvm.device.emulator_blocks import Block, BlockTable, cycle_model, uses_float
from utvm.device.emulator_core import (
    LR_REGISTER,
    R0_REGISTER,
    SP_REGISTER,
    XPSR_REGISTER,
    Core,
    MemoryRegion,
)
from utvm.device.emulator_exceptions import (
    FORCED,
    THUMB,
    enter_hard_fault,
    enter_systick,
    leave_exception,
)
from utvm.device.emulator_faults import CoreFaultError
from utvm.device.emulator_stop import Reason, Stop
from utvm.support.errors import DeviceError

__all__ = ["EmulatedMachine", "MemoryRegion", "Reason", "Stop"]

_IF_THEN = 0x0600FC00  # the execution state bits of xPSR
_BREAKPOINT = 7
_TICK_PATIENCE_CYCLES = 1000  # for a tick that can't be taken yet
_UNBOUNDED = (1 << 64) - 1
# Unicorn accepts these although the core lacks them.
_MISSING = {
    "cortex-m0plus": ("it", "cbz", "cbnz"),
    "cortex-m3": ("smlad", "smladx", "smlsd", "smlsdx", "smuad", "smuadx", "smusd", "smusdx"),
}


class EmulatedMachine:
    """One core with its memories.

    ``ranges`` are the code of the measured function (owner 0) and of operators (1, 2, ...): first
    address, end, owner. ``place`` names an address in messages. With ``takes_exceptions`` a fault
    does what it does on a real core, as far as there is a vector for it: the core goes on in its
    handler. Otherwise a fault ends the run. With ``stack``, its lowest and its
    past-the-highest address, a stack pointer below it is a fault, too.
    """

    def __init__(
        self,
        cpu: str,
        model: str,
        memories: Sequence[MemoryRegion],
        *,
        ranges: Sequence[tuple[int, int, int]] = (),
        stack: tuple[int, int] = (0, 0),
        place: Callable[[int], str] | None = None,
        takes_exceptions: bool = False,
    ) -> None:
        self.cpu, self.takes_exceptions = cpu, takes_exceptions
        self.last_fault: CoreFaultError | None = None
        self.core = Core(cpu, memories)
        self._place, self._stack = place, stack
        self.vectors = min(self.core.memories, key=lambda m: (not m.executable, m.writable)).origin
        self._library = hooks.load_hooks()
        self._machine = self._native(model, stack[0], ranges)
        self._table = BlockTable(
            self._library,
            self._machine,
            cycle_model(model),
            self.core.read,
            ranges,
            self._check_block,
        )
        self.system = system.SystemRegisters(
            cpu,
            lambda: int(self._machine.cycles),
            self.vectors,
            self.core.stop,
            self._set_tick,
        )
        self._map_system()
        self.core.attach(self._library, self._machine)
        # The native tables go with this object, whoever forgets to close it.
        release = self._library.emulator_release
        self._finalizer = weakref.finalize(self, release, ctypes.pointer(self._machine))

    def _native(
        self, model: str, stack_low: int, ranges: Sequence[tuple[int, int, int]]
    ) -> hooks.Machine:
        count = 1 + max((owner for _, _, owner in ranges), default=0)
        self.owners = (hooks.Owner * count)()
        emu_stop, reg_read = self.core.native_functions()
        return hooks.Machine(
            owners=self.owners,
            owner_count=count,
            mispredict_cycles=cycle_model(model).mispredict_cycles,
            stack_low=stack_low,
            lowest_sp=0xFFFFFFFF,
            r0_register=R0_REGISTER,
            sp_register=SP_REGISTER,
            lr_register=LR_REGISTER,
            xpsr_register=XPSR_REGISTER,
            emu_stop=emu_stop,
            reg_read=reg_read,
            unused_node=-1,
            unused_edge=-1,
            tick_cycles=_UNBOUNDED,
        )

    def _map_system(self) -> None:
        registers = self.system
        self.map_registers(system.SYSTEM_BASE, system.SYSTEM_BYTES, registers.read, registers.write)
        if self.cpu not in system.WITHOUT_DWT_CYCLES:
            self.map_registers(
                system.DWT_BASE, system.DWT_BYTES, registers.read_dwt, registers.write_dwt
            )

    @property
    def instructions(self) -> int:
        """Retired since the machine was made."""
        return int(self._machine.instructions)

    @property
    def cycles(self) -> int:
        """Modelled since the machine was made. A block counts as a whole when it is entered."""
        return int(self._machine.cycles)

    @property
    def lowest_sp(self) -> int:
        """The lowest that the stack pointer ever was, as far as it was written."""
        return int(self._machine.lowest_sp)

    @property
    def invocation(self) -> tuple[int, int]:
        """Instructions and cycles since the measured function was last entered."""
        native = self._machine
        started = int(native.start_instructions), int(native.start_cycles)
        return self.instructions - started[0], self.cycles - started[1]

    @property
    def table_sizes(self) -> tuple[int, int]:
        """How many blocks and ways between them the native tables have room for: a leak shows."""
        return int(self._machine.node_count), int(self._machine.edge_count)

    @property
    def owner(self) -> int:
        """Whose code runs within the measured function; -1 outside of it."""
        return int(self._machine.owner) if self._machine.measuring else -1

    def read(self, address: int, size_bytes: int) -> bytes:
        """Memory, or memory-mapped registers by words; ``DeviceError`` where there is nothing."""
        return self.core.read(address, size_bytes) if size_bytes else b""

    def write(self, address: int, data: bytes) -> None:
        """See ``read``; code that is overwritten is decoded anew. Flash is written, too."""
        if data:
            self.core.write(address, data)
            if self._table.forget(address, address + len(data)):
                self.core.retranslate(address, len(data))

    def map_registers(
        self,
        base: int,
        size: int,
        read: Callable[[int], int],
        write: Callable[[int, int], None],
    ) -> None:
        """Words at ``base`` (whole pages of 4 KiB) are read and written by calls with an offset."""
        self.core.map_registers(base, size, read, write)

    def register(self, name: str) -> int:
        """``r0`` to ``r12``, ``sp``, ``lr``, ``pc``, ``xpsr``, ``msp``, ``psp``, ``control``,
        ``primask``, ``basepri``, ``faultmask``, ``fpscr``, ``s0`` to ``s31``."""
        return self.core.register(name)

    def set_register(self, name: str, value: int) -> None:
        """See ``register``. Going on from another place empties the pipeline."""
        if name == "pc" and value & ~1 != self.core.pc:
            self._table.restart()
        self.core.set_register(name, value)

    def skip(self, size_bytes: int) -> None:
        """Goes on behind the present instruction, which something else has done."""
        self.core.pc += size_bytes

    def memory_at(self, address: int, size_bytes: int, where: str) -> MemoryRegion:
        """The memory with these bytes; ``DeviceError`` if there is none."""
        return self.core.find_or_refuse(address, size_bytes, where)

    def load(self, image: ElfImage) -> None:
        """Puts every segment at its load address."""
        for segment in image.segments:
            for address, size in (
                (segment.paddr, len(segment.data)),
                (segment.vaddr, segment.memsz),
            ):
                self.core.find_or_refuse(
                    address, size, str(image.path), "link with the board's linker script"
                )
            self.write(segment.paddr, segment.data)

    def reset(self) -> bool:
        """The core as after a reset, memory as it is; whether there are vectors to start from."""
        sp, pc = (int.from_bytes(self.read(self.vectors + at, 4), "little") for at in (0, 4))
        valid = bool(pc & 1) and self.core.find(pc & ~1, 2) is not None
        valid = valid and self.core.find(sp - 4, 4) is not None
        for number in range(13):
            self.core.set_register(f"r{number}", 0)
        for name, value in (("control", 0), ("xpsr", THUMB), ("lr", 0xFFFFFFFF), ("sp", sp & ~3)):
            self.core.set_register(name, value)
        self.core.pc = pc & ~1
        self._table.restart()
        self.system.reset()
        self._machine.lowest_sp = sp
        return valid

    def stop(self) -> None:
        """Ends a run soon, as ``SLEEP``; for handlers of registers."""
        self.core.stop()

    def run(self, stops: Collection[int] = (), instruction_limit: int = _UNBOUNDED) -> Stop:
        """Runs on from ``pc``. At once ``ADDRESS`` if that is one of ``stops``.

        A limit of 1 executes one instruction; a higher one ends with the first block that reaches
        it. Within an if-then block one step passes what its condition skips.
        """
        if instruction_limit <= 1:
            return self._step()
        machine = self._machine
        machine.slice_end = min(_UNBOUNDED, machine.instructions + instruction_limit)
        held = (ctypes.c_uint32 * len(stops))(*(stop & ~1 for stop in stops))
        machine.stops, machine.stop_count = held, len(stops)
        try:
            return self._run(frozenset(held))
        finally:
            machine.stop_count = 0

    def _run(self, stops: frozenset[int]) -> Stop:
        while True:
            stop = self._resume(0)
            if stop is None:
                continue
            if stop.reason is Reason.FAULT and self._enter_handler(stop.fault):
                continue
            while stop.reason is Reason.ADDRESS and self.core.pc not in stops:
                stop = self._step()  # to an address in the middle of a block
                if stop.reason is Reason.LIMIT:
                    stop = Stop(Reason.ADDRESS)
            return stop

    def _step(self) -> Stop:
        """Executes one instruction."""
        pc, machine = self.core.pc, self._machine
        try:
            first = int.from_bytes(self.read(pc, 2), "little") >> 11
            machine.step_bytes = 4 if first in (0x1D, 0x1E, 0x1F) else 2
        except DeviceError:
            machine.step_bytes = 2  # the fetch faults
        machine.slice_end, machine.stepped = _UNBOUNDED, 0
        self._set_tick(None)
        try:
            stop = None
            while stop is None:
                stop = self._resume(1)
        finally:
            machine.step_bytes = 0
            self._set_tick(self.system.next_tick())
        if stop.reason is Reason.FAULT and self._enter_handler(stop.fault):
            return Stop(Reason.LIMIT)
        return Stop(Reason.LIMIT) if stop.reason is Reason.SLEEP else stop

    def _resume(self, instructions: int) -> Stop | None:
        """Runs to the next stop of the native hooks; None when there was only a new block."""
        machine = self._machine
        machine.stop = hooks.STOP_NONE
        machine.fault_type = 0
        error = self.core.run(instructions)
        if self.takes_exceptions and leave_exception(self.core, self.system):
            self._table.restart()
            return Stop(Reason.LIMIT) if instructions else None
        if error:
            return Stop(Reason.FAULT, self._fault(error))
        if not instructions and machine.stop != hooks.STOP_INTERRUPT:
            self._leave_if_then()
        match machine.stop:
            case hooks.STOP_NEW_EDGE:
                return self._extend()
            case hooks.STOP_IF_THEN:
                return None
            case hooks.STOP_TICK:
                self._tick()
                return None
            case hooks.STOP_INTERRUPT if machine.interrupt == _BREAKPOINT:
                return Stop(Reason.BREAKPOINT)
            case hooks.STOP_INTERRUPT:
                fault = faults.exception_fault(machine.interrupt, self.where())
                return Stop(Reason.FAULT, fault)
            case hooks.STOP_STACK:
                return Stop(Reason.FAULT, self._stack_fault())
            case hooks.STOP_UNALIGNED:
                return Stop(Reason.FAULT, self._unaligned())
        if self.system.reset_requested:
            self.system.reset_requested = False
            return Stop(Reason.RESET)
        return Stop(_PLAIN_STOPS.get(machine.stop, Reason.SLEEP))

    def _leave_if_then(self) -> None:
        """At the border of a block, forgets the if-then state of a group that has ended.

        Unicorn keeps it where the last instruction of the group accessed memory, or any that met a
        page for the first time, and what it translated of the next block is then conditional.
        """
        status = self.core.register("xpsr")
        current = self._machine.current  # 0: what an exception has restored is as it should be
        if current and status & _IF_THEN and not self._table.ends_in_if_then(current):
            self.core.set_register("xpsr", status & ~_IF_THEN)
            self.core.retranslate(self.core.pc, 2)

    def _set_tick(self, due: int | None) -> None:
        """Tells the native hooks when SysTick's next exception is due; none comes within a step."""
        if not self.takes_exceptions or self._machine.step_bytes:
            due = None
        self._machine.tick_cycles = _UNBOUNDED if due is None else due

    def _tick(self) -> None:
        if enter_systick(self.core, self.system):
            self._table.restart()
            self.system.take_tick()
        else:
            self._machine.tick_cycles = self.cycles + _TICK_PATIENCE_CYCLES

    def _extend(self) -> Stop | None:
        machine = self._machine
        if not self.core.in_thumb_state():
            fault = faults.exception_fault(faults.NOT_THUMB, self.where())
            return Stop(Reason.FAULT, fault)
        try:
            self._table.extend(machine.current, machine.address, machine.size)
        except CoreFaultError as fault:
            return Stop(Reason.FAULT, fault)
        return None

    def _enter_handler(self, fault: CoreFaultError | None) -> bool:
        """Takes a fault as the core does; False if it would lock up, or is not asked to."""
        self.last_fault = fault
        if not self.takes_exceptions or fault is None:
            return False
        return self.take_fault(fault.cfsr, FORCED, fault.address)

    def take_fault(self, cfsr: int, hfsr: int, address: int = 0) -> bool:
        """Enters the handler of a HardFault with these bits in the fault registers, and ``address``
        in BFAR. False, and nothing done, if the core would lock up."""
        self._table.restart()
        return enter_hard_fault(self.core, self.system, cfsr, hfsr, address)

    def _check_block(self, block: Block) -> None:
        """Refuses what the real core refuses and Unicorn lets pass."""
        address = block.address
        for instruction in block.instructions:
            if instruction.mnemonic in _MISSING.get(self.cpu, ()):
                raise faults.undefined_fault(self.where(address), instruction.text)
            address += instruction.size
        if uses_float(block) and not self.system.float_unit_is_on:
            raise faults.float_fault(self.where(block.address))

    def _stack_fault(self) -> CoreFaultError:
        low, high = self._stack
        return faults.stack_fault(self.where(), high - low, low, self.lowest_sp)

    def _unaligned(self) -> CoreFaultError:
        machine = self._machine
        address, text = self._table.bulk_access(machine.address, machine.fault_size)
        return faults.unaligned_fault(
            self.where(address), text, machine.fault_size, machine.fault_address
        )

    def _fault(self, error: str) -> CoreFaultError:
        machine = self._machine
        if machine.fault_type:
            return faults.access_fault(
                machine.fault_type, machine.fault_address, machine.fault_size, self.where()
            )
        if "UC_ERR_INSN_INVALID" in error:
            return faults.undefined_fault(self.where())
        if "UC_ERR_FETCH_PROT" in error:  # in RAM, where no hook notes the address
            return faults.access_fault(faults.FETCH_FORBIDDEN, self.core.pc, 1, self.where())
        return faults.stopped_fault(self.where(), error)

    def where(self, address: int | None = None) -> str:
        """``pc 0x00000123``, with what ``place`` has to say about it."""
        pc = self.core.pc if address is None else address
        return f"pc {pc:#010x} ({self._place(pc)})" if self._place else f"pc {pc:#010x}"


_PLAIN_STOPS = {
    hooks.STOP_RETURNED: Reason.RETURNED,
    hooks.STOP_SLICE: Reason.LIMIT,
    hooks.STOP_ADDRESS: Reason.ADDRESS,
}
