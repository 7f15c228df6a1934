"""The emulated board: runs a linked program, counts its instructions and models its cycles.

In: a program, a core, a cycle model, the board's memories, files, and the names of the functions
to measure. Out: exit status, console, files, stack depth, and the cost of every call of the
measured function, operator by operator. A fault raises ``DeviceError``; so does an endless loop.
Running and counting are emulated_machine.py's; the loop in ``_Run.run`` answers its stops.

An instruction is counted when it is retired. One that its if-then block skips is retired too, and
so is the ``it`` itself. Nothing in a figure depends on the host or on the time of day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from utvm.device import emulator_faults as faults
from utvm.device.elf import ElfImage
from utvm.device.emulated_machine import EmulatedMachine, Reason
from utvm.device.emulator_blocks import owner_ranges
from utvm.device.emulator_core import MemoryRegion
from utvm.device.emulator_semihosting import Semihosting, open_files
from utvm.support.errors import DeviceError

__all__ = ["EmulatorResult", "FunctionCost", "Invocation", "MemoryRegion", "run_elf"]

_SLICE_INSTRUCTIONS = 20_000_000  # between two looks at progress and Ctrl-C
_INVOCATION_LIMIT = 100_000
_SEMIHOSTING = b"\xab\xbe"


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
    run = _Run(image, cpu, cycle_model, memories, stack, measure, operators)
    run.host.files.update(open_files(files))
    run.run(instruction_limit, progress)
    return run.result()


class _ProgramMemory:
    """The device's memory for semihosting: the pointers are the program's, so they are checked."""

    def __init__(self, machine: EmulatedMachine) -> None:
        self._machine = machine

    def read(self, address: int, size: int) -> bytes:
        if size:
            self._machine.memory_at(address, size, "semihosting")
        return self._machine.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        if not data:
            return
        memory = self._machine.memory_at(address, len(data), "semihosting")
        if not memory.writable:
            raise DeviceError(
                f"the program wants {len(data)} bytes read into read-only memory",
                where=f"{memory.name} at {address:#010x}",
            )
        self._machine.write(address, data)


class _Run:
    """One run: the stops of the machine are answered here."""

    def __init__(
        self,
        image: ElfImage,
        cpu: str,
        model: str,
        memories: Sequence[MemoryRegion],
        stack: tuple[int, int],
        measure: str,
        operators: Sequence[str],
    ) -> None:
        self.image, self.measure, self.operators = image, measure, tuple(operators)
        self.invocations: list[Invocation] = []
        self.machine = EmulatedMachine(
            cpu,
            model,
            memories,
            stack=stack,
            ranges=owner_ranges(image, measure, operators),
            place=self._place,
        )
        start_program(self.machine, image)
        self.initial_sp = self.machine.register("sp")
        self.host = Semihosting(_ProgramMemory(self.machine), lambda: self.machine.cycles)

    def run(self, limit: int, progress: Callable[[int], None] | None) -> None:
        """Runs to the program's exit; every other end raises."""
        machine = self.machine
        while self.host.exit_status is None:
            left = max(limit - machine.instructions, 2)
            stop = machine.run(instruction_limit=min(left, _SLICE_INSTRUCTIONS))
            match stop.reason:
                case Reason.BREAKPOINT:
                    self._semihosting()
                case Reason.RETURNED:
                    self._end_invocation()
                case Reason.LIMIT:
                    if machine.instructions >= limit:
                        raise faults.limit_fault(machine.where(), limit)
                    if progress is not None:
                        progress(machine.instructions)
                case Reason.FAULT if stop.fault is not None:
                    raise stop.fault
                case Reason.RESET:
                    raise DeviceError("the program asks for a reset", where=machine.where())
                case _:
                    raise faults.sleep_fault(machine.where())

    def _semihosting(self) -> None:
        machine = self.machine
        if machine.read(machine.register("pc"), 2) != _SEMIHOSTING:
            raise faults.exception_fault(faults.BREAKPOINT, machine.where())
        try:
            result = self.host.call(machine.register("r0"), machine.register("r1"))
        except DeviceError as error:
            raise DeviceError(
                error.what,
                where=machine.where(),
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            ) from error
        machine.set_register("r0", result)
        machine.skip(len(_SEMIHOSTING))

    def _end_invocation(self) -> None:
        if len(self.invocations) >= _INVOCATION_LIMIT:
            raise DeviceError(
                f"the program calls {self.measure} without end",
                where=self.machine.where(),
                expected=f"at most {_INVOCATION_LIMIT} calls in one run",
            )
        called = [
            (owner.order, FunctionCost(name, owner.calls, owner.instructions, owner.cycles))
            for name, owner in zip(self.operators, self.machine.owners[1:], strict=True)
            if owner.calls
        ]
        instructions, cycles = self.machine.invocation
        self.invocations.append(
            Invocation(
                instructions=instructions,
                cycles=cycles,
                functions=tuple(cost for _, cost in sorted(called, key=lambda pair: pair[0])),
            )
        )

    def _place(self, address: int) -> str:
        """``function+0x4, in operator conv_1``."""
        place = self.image.function_at(address)
        owner = self.machine.owner
        return f"{place}, in operator {self.operators[owner - 1]}" if owner > 0 else place

    def result(self) -> EmulatorResult:
        status = self.host.exit_status
        assert status is not None
        return EmulatorResult(
            exit_status=status,
            console=self.host.console.decode("utf-8", "replace"),
            files={name: bytes(data) for name, data in self.host.files.items()},
            stack_bytes=self.initial_sp - self.machine.lowest_sp,
            instructions=self.machine.instructions,
            invocations=tuple(self.invocations),
        )


def start_program(machine: EmulatedMachine, image: ElfImage) -> None:
    """Loads ``image`` and resets the core, which needs a vector table to start from."""
    machine.load(image)
    if not machine.reset():
        sp, pc = (int.from_bytes(machine.read(machine.vectors + at, 4), "little") for at in (0, 4))
        raise DeviceError(
            "the program has no valid vector table",
            where=str(image.path),
            expected=f"a stack pointer and a Thumb reset address at {machine.vectors:#010x}",
            found=f"{sp:#010x} and {pc:#010x}",
            hint="keep the vector table section in the link, first in flash",
        )
