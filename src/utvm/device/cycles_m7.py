"""Cycles of a Cortex-M7: two instructions a cycle, in order; a model, since Arm prints no table.

In: decoded instructions. Out: cycles at zero wait states. Sources: others' measurements on an
STM32H743 from cache and tightly coupled memory, and the stages in LLVM's ARMScheduleM7.td. An
instruction issued in cycle t has its late ALU in t; results and operands are timed against that.
The state holds the issue group that is still open and the results still under way, so a loop
reaches its steady state by itself. Branch prediction is counted where the program runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from utvm.device.emulator_decode import Instruction, Kind

DIVIDE_CYCLES = 7
FPU_DIVIDE_CYCLES = 15
TABLE_BRANCH_CYCLES = 2
MISPREDICT_CYCLES = 7

_FLOAT = {Kind.FPU, Kind.FPU_MAC}
_LOADS = {Kind.LOAD, Kind.LOAD_NARROW}
_OLDER_ONLY = {Kind.EXTEND, Kind.SATURATE}
_ALONE = {
    *(Kind.MULTIPLE, Kind.DIVIDE, Kind.FPU_DIVIDE, Kind.FPU_PAIR),
    *(Kind.TABLE_BRANCH, Kind.BARRIER, Kind.SYSTEM),
}
# Cycles from issue until a late ALU may use the result; 1 where nothing is said.
_LATENCY = {Kind.LOAD_NARROW: 2, Kind.MULTIPLY: 2, Kind.SATURATE: 2, Kind.FPU: 3, Kind.FPU_MAC: 3}


@dataclass(frozen=True)
class Slot:
    """What of the older instruction of a group decides whether a younger one may join it."""

    kind: Kind
    shifts: bool
    branches: bool
    base: int | None
    bank: tuple[int, int] | None


@dataclass(frozen=True)
class State:
    """``older``: what issued alone so far in the present cycle. ``pending``: per register, when a
    late ALU and when a multiplier or shifter may use it, counted from the present cycle."""

    older: Slot | None = None
    pending: tuple[tuple[int, int, int], ...] = ()


class CortexM7:
    """The cycle model ``cortex-m7``."""

    start = State()
    mispredict_cycles = MISPREDICT_CYCLES
    predicts_branches = True

    def block(self, instructions: Sequence[Instruction], state: State) -> tuple[int, State]:
        """Issue cycles that a straight line adds to those before it."""
        pipeline = _Pipeline(state)
        for instruction in instructions:
            pipeline.issue(instruction)
        return pipeline.now, pipeline.state()

    def leave(self, last: Instruction, taken: bool, state: State) -> tuple[int, State]:
        """A taken branch closes its issue group; fall-through goes on filling it."""
        if not taken or state.older is None:
            return 0, state
        pipeline = _Pipeline(state)
        pipeline.close_group()
        return pipeline.now, pipeline.state()


class _Pipeline:
    """Walks instructions through issue, one cycle count per call of ``block``."""

    def __init__(self, state: State) -> None:
        self.now = 0
        self.older = state.older
        self.ready = {register: ready for register, ready, _ in state.pending}
        self.ready_late = {register: late for register, _, late in state.pending}

    def state(self) -> State:
        """Results that every operand can use by now are forgotten: that keeps states few."""
        pending = [
            (register, max(ready - self.now, -1), max(self.ready_late[register] - self.now, -1))
            for register, ready in sorted(self.ready.items())
        ]
        return State(
            self.older,
            tuple(entry for entry in pending if entry[1] > -1 or entry[2] > -1),
        )

    def close_group(self) -> None:
        self.now += 1
        self.older = None

    def issue(self, instruction: Instruction) -> None:
        earliest = self._operands_ready(instruction)
        if self.older is not None:
            if earliest <= self.now and _may_pair(self.older, instruction):
                self._retire(instruction, is_older=False)
                self.close_group()
                return
            self.close_group()
        self.now = max(self.now, earliest)
        self._retire(instruction, is_older=True)
        if instruction.kind in _ALONE:
            self.now += _alone_cycles(instruction)
        else:
            self.older = _slot(instruction)

    def _operands_ready(self, instruction: Instruction) -> int:
        """The first cycle in which ``instruction`` may issue as far as its operands go."""
        multiplies = instruction.kind is Kind.MULTIPLY
        plain = self.ready_late if multiplies else self.ready
        return max(
            _latest(self.ready, instruction.address) + 1,
            _latest(self.ready_late, instruction.shifted) + 1,
            _latest(plain, instruction.sources),
            _latest(self.ready, instruction.accumulator) - 1,
            _latest(self.ready, instruction.data) - 2,
        )

    def _retire(self, instruction: Instruction, is_older: bool) -> None:
        """Notes when the results of ``instruction``, issued now, may be used."""
        if instruction.kind in _ALONE:
            ready = late = self.now + _alone_cycles(instruction)
            late += 1 if instruction.kind is Kind.MULTIPLE else 0
        else:
            ready = late = self.now + _LATENCY.get(instruction.kind, 1)
            if instruction.kind is Kind.LOAD:
                late += 1
            elif is_older and self._issues_early(instruction):
                ready = late = self.now
        for register in instruction.results:
            self.ready[register], self.ready_late[register] = ready, late
        if instruction.base_update is not None:
            # The address adder is done before the ALUs start.
            self.ready[instruction.base_update] = self.now
            self.ready_late[instruction.base_update] = self.now

    def _issues_early(self, instruction: Instruction) -> bool:
        """A simple operation whose sources wait already uses the ALU of the stage before."""
        return (
            instruction.kind is Kind.SIMPLE
            and _latest(self.ready, instruction.sources) <= self.now - 1
        )


def _latest(ready: dict[int, int], registers: Iterable[int]) -> int:
    return max((ready.get(register, -1) for register in registers), default=-1)


def _alone_cycles(instruction: Instruction) -> int:
    match instruction.kind:
        case Kind.MULTIPLE:
            return max(1, (instruction.words + 1) // 2)
        case Kind.DIVIDE:
            return DIVIDE_CYCLES
        case Kind.FPU_DIVIDE:
            return FPU_DIVIDE_CYCLES
        case Kind.TABLE_BRANCH:
            return TABLE_BRANCH_CYCLES
        case _:
            return 1


def _slot(instruction: Instruction) -> Slot:
    return Slot(
        kind=instruction.kind,
        shifts=bool(instruction.shifted),
        branches=instruction.writes_pc,
        base=instruction.address[0] if instruction.address else None,
        bank=instruction.bank,
    )


def _may_pair(older: Slot, instruction: Instruction) -> bool:
    """Whether ``instruction`` may issue beside ``older``, operands apart."""
    if instruction.kind in _ALONE or instruction.kind in _OLDER_ONLY:
        return False
    younger = _slot(instruction)
    kinds = (older.kind, younger.kind)
    multiplies_and_stores = sum(kind in (Kind.MULTIPLY, Kind.STORE) for kind in kinds)
    if multiplies_and_stores > 1:  # one of each at most, and no multiply beside a store
        return False
    if all(kind in _FLOAT for kind in kinds) or (older.branches and younger.branches):
        return False
    if older.shifts and younger.shifts:
        return False
    if all(kind in _LOADS for kind in kinds):
        return _different_banks(older, younger)
    return True


def _different_banks(first: Slot, second: Slot) -> bool:
    """Address bit 2 tells the banks apart; unrelated addresses are taken to differ."""
    if first.base != second.base:
        return True
    if first.bank is None or second.bank is None:
        return False
    return bool((first.bank[1] ^ second.bank[1]) & 4)
