"""The emulated board: runs a linked program, counts its instructions and models its cycles.

In: a program, a core, a cycle model, the board's memories, files, and the names of the functions
to measure. Out: exit status, console, files, stack depth, and the cost of every call of the
measured function, operator by operator. A fault raises ``DeviceError``; so does an endless loop.
Counting is done by native hooks (emulator_hooks.py) that stop whenever something new or rare
happens; the loop in ``_Run.run`` deals with each stop.

An instruction is counted when it is retired. One that its if-then block skips is retired too, and
so is the ``it`` itself. Nothing in a figure depends on the host or on the time of day.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from utvm.device import emulator_faults as faults
from utvm.device import emulator_hooks as hooks
from utvm.device.elf import ElfImage
from utvm.device.emulator_blocks import Block, BlockTable, cycle_model, owner_ranges, uses_float
from utvm.device.emulator_core import LR_REGISTER, R0_REGISTER, SP_REGISTER, Core, MemoryRegion
from utvm.device.emulator_semihosting import Semihosting, open_files
from utvm.support.errors import DeviceError

__all__ = ["EmulatorResult", "FunctionCost", "Invocation", "MemoryRegion", "run_elf"]

_SLICE_INSTRUCTIONS = 20_000_000  # between two looks at progress and Ctrl-C
_INVOCATION_LIMIT = 100_000
_BREAKPOINT = 7
_SEMIHOSTING = b"\xab\xbe"
# Unicorn accepts these although the core lacks them.
_MISSING = {
    "cortex-m0plus": ("it", "cbz", "cbnz"),
    "cortex-m3": ("smlad", "smladx", "smlsd", "smlsdx", "smuad", "smuadx", "smusd", "smusdx"),
}


@dataclass(frozen=True)
class FunctionCost:
    """What one operator cost within an invocation, with all that it called."""

    symbol: str
    calls: int
    instructions: int
    cycles: int


@dataclass(frozen=True)
class Invocation:
    """One call of the measured function. ``functions`` is in order of first call; what lies in
    no operator is the remainder."""

    instructions: int
    cycles: int
    functions: tuple[FunctionCost, ...]


@dataclass(frozen=True)
class EmulatorResult:
    """A finished run. ``stack_bytes`` is how far the stack pointer ever went below its first
    value; ``instructions`` counts the whole run from reset to exit."""

    exit_status: int
    console: str
    files: Mapping[str, bytes]
    stack_bytes: int
    instructions: int
    invocations: tuple[Invocation, ...]


def run_elf(
    image: ElfImage,
    *,
    cpu: str,
    cycle_model: str,
    memories: Sequence[MemoryRegion],
    stack: tuple[int, int],
    files: Mapping[str, bytes],
    measure: str,
    operators: Sequence[str],
    instruction_limit: int = 20_000_000_000,
    progress: Callable[[int], None] | None = None,
) -> EmulatorResult:
    """Runs ``image`` from reset until it exits by semihosting.

    ``stack`` is the lowest and the past-the-highest address of the stack. ``progress`` is told
    the instructions counted so far, every 20 million or so.
    """
    core = Core(cpu, memories)
    core.load(image)
    run = _Run(image, core, cpu, cycle_model, stack, measure, operators)
    run.host.files.update(open_files(files))
    try:
        run.run(instruction_limit, progress)
    finally:
        run.release()
    return run.result()


class _Run:
    """One run: the stops of the native hooks are answered here."""

    def __init__(
        self,
        image: ElfImage,
        core: Core,
        cpu: str,
        model: str,
        stack: tuple[int, int],
        measure: str,
        operators: Sequence[str],
    ) -> None:
        self.image, self.core, self.cpu = image, core, cpu
        self.stack, self.measure, self.operators = stack, measure, tuple(operators)
        self.invocations: list[Invocation] = []
        self.library = hooks.load_hooks()
        self.owners = (hooks.Owner * (len(self.operators) + 1))()
        self.machine = self._machine(model)
        self.table = BlockTable(
            self.library,
            self.machine,
            cycle_model(model),
            core.read_code,
            owner_ranges(image, measure, operators),
            self._check_block,
        )
        self.host = Semihosting(core, lambda: int(self.machine.cycles))
        core.attach(self.library, self.machine)

    def _machine(self, model: str) -> hooks.Machine:
        emu_stop, reg_read = self.core.native_functions()
        return hooks.Machine(
            owners=self.owners,
            owner_count=len(self.owners),
            mispredict_cycles=cycle_model(model).mispredict_cycles,
            stack_low=self.stack[0],
            lowest_sp=self.core.initial_sp,
            r0_register=R0_REGISTER,
            sp_register=SP_REGISTER,
            lr_register=LR_REGISTER,
            emu_stop=emu_stop,
            reg_read=reg_read,
        )

    def run(self, limit: int, progress: Callable[[int], None] | None) -> None:
        """Runs to the program's exit; every other end raises."""
        machine, core = self.machine, self.core
        while self.host.exit_status is None:
            machine.stop = hooks.STOP_NONE
            machine.slice_end = min(limit, machine.instructions + _SLICE_INSTRUCTIONS)
            error = core.run()
            if error:
                raise self._fault(error)
            match machine.stop:
                case hooks.STOP_NEW_EDGE:
                    if not core.in_thumb_state():
                        raise faults.exception_fault(faults.NOT_THUMB, self.where())
                    self.table.extend(machine.current, machine.address, machine.size)
                case hooks.STOP_RETURNED:
                    self._end_invocation()
                case hooks.STOP_SLICE:
                    if machine.instructions >= limit:
                        raise faults.limit_fault(self.where(), limit)
                    if progress is not None:
                        progress(machine.instructions)
                case hooks.STOP_STACK:
                    low, high = self.stack
                    raise faults.stack_fault(self.where(), high - low, low, machine.lowest_sp)
                case hooks.STOP_UNALIGNED:
                    raise self._unaligned()
                case hooks.STOP_INTERRUPT:
                    self._interrupt()
                case _:
                    raise faults.sleep_fault(self.where())

    def _interrupt(self) -> None:
        core = self.core
        called = self.machine.interrupt == _BREAKPOINT
        if not called or core.read_code(core.pc, 2) != _SEMIHOSTING:
            raise faults.exception_fault(self.machine.interrupt, self.where())
        try:
            core.set_register(0, self.host.call(core.register(0), core.register(1)))
        except DeviceError as error:
            raise DeviceError(
                error.what,
                where=self.where(),
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            ) from error
        core.pc += 2

    def _end_invocation(self) -> None:
        if len(self.invocations) >= _INVOCATION_LIMIT:
            raise DeviceError(
                f"the program calls {self.measure} without end",
                where=self.where(),
                expected=f"at most {_INVOCATION_LIMIT} calls in one run",
            )
        machine = self.machine
        called = [
            (owner.order, FunctionCost(name, owner.calls, owner.instructions, owner.cycles))
            for name, owner in zip(self.operators, self.owners[1:], strict=True)
            if owner.calls
        ]
        self.invocations.append(
            Invocation(
                instructions=machine.instructions - machine.start_instructions,
                cycles=machine.cycles - machine.start_cycles,
                functions=tuple(cost for _, cost in sorted(called, key=lambda pair: pair[0])),
            )
        )

    def _check_block(self, block: Block) -> None:
        """Refuses what the real core refuses and Unicorn lets pass."""
        address = block.address
        for instruction in block.instructions:
            if instruction.mnemonic in _MISSING.get(self.cpu, ()):
                raise faults.undefined_fault(self.where(address), instruction.text)
            address += instruction.size
        if uses_float(block) and not self.core.float_unit_is_on():
            raise faults.float_fault(self.where(block.address))

    def _unaligned(self) -> DeviceError:
        machine = self.machine
        address, text = self.table.bulk_access(machine.address, machine.fault_size)
        return faults.unaligned_fault(
            self.where(address), text, machine.fault_size, machine.fault_address
        )

    def _fault(self, error: str) -> DeviceError:
        machine = self.machine
        if machine.fault_type:
            return faults.access_fault(
                machine.fault_type, machine.fault_address, machine.fault_size, self.where()
            )
        if "UC_ERR_INSN_INVALID" in error:
            return faults.undefined_fault(self.where())
        if "UC_ERR_FETCH_PROT" in error:  # in RAM, where no hook notes the address
            return faults.access_fault(faults.FETCH_FORBIDDEN, self.core.pc, 1, self.where())
        return DeviceError(
            "the emulator stopped", where=self.where(), found=error, hint="look at the instruction"
        )

    def where(self, address: int | None = None) -> str:
        """``pc 0x00000123 (function+0x4, in operator conv_1)``."""
        pc = self.core.pc if address is None else address
        place = self.image.function_at(pc)
        machine = self.machine
        if machine.measuring and machine.owner > 0:
            place += f", in operator {self.operators[machine.owner - 1]}"
        return f"pc {pc:#010x} ({place})"

    def release(self) -> None:
        self.library.emulator_release(ctypes.byref(self.machine))

    def result(self) -> EmulatorResult:
        status = self.host.exit_status
        assert status is not None
        return EmulatorResult(
            exit_status=status,
            console=self.host.console.decode("utf-8", "replace"),
            files={name: bytes(data) for name, data in self.host.files.items()},
            stack_bytes=self.core.initial_sp - self.machine.lowest_sp,
            instructions=self.machine.instructions,
            invocations=tuple(self.invocations),
        )
