"""Cycles of a Cortex-M4, after its Technical Reference Manual (Arm 100166, DDI 0439).

In: decoded instructions. Out: cycles at zero wait states. Used for Cortex-M3 and M33 too. The
state is what the instruction before leaves behind: a load that the next access may overlap with,
or a computed register that the next access may have to wait for. A conditional instruction that
its if-then block skips is priced like one that runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from utvm.device.emulator_decode import PC, Instruction, Kind

DIVIDE_CYCLES = 7  # the manual says 2 to 12
REFILL_CYCLES = 2  # a taken branch; the manual says 1 to 3


@dataclass(frozen=True)
class State:
    """The registers that the instruction before loaded (one load) or computed."""

    loaded: frozenset[int] = frozenset()
    computed: frozenset[int] = frozenset()


_FIXED = {
    Kind.DIVIDE: DIVIDE_CYCLES,
    Kind.TABLE_BRANCH: 4,
    Kind.FPU_MAC: 3,
    Kind.FPU_DIVIDE: 14,
    Kind.FPU_PAIR: 2,
    Kind.BARRIER: 3,
}
_COMPUTING = {
    *(Kind.ALU, Kind.SIMPLE, Kind.BITS, Kind.EXTEND, Kind.SATURATE),
    *(Kind.MULTIPLY, Kind.DIVIDE, Kind.FPU, Kind.FPU_PAIR, Kind.SYSTEM),
}
_NOTHING = State()


class CortexM4:
    """The cycle model ``cortex-m4``."""

    start = _NOTHING
    mispredict_cycles = 0
    predicts_branches = False

    def block(self, instructions: Sequence[Instruction], state: State) -> tuple[int, State]:
        """Cycles of a straight line whose last branch, if any, is not taken."""
        cycles = 0
        for instruction in instructions:
            cycles += _cost(instruction, state)
            state = _leaves_behind(instruction)
        return cycles, state

    def leave(self, last: Instruction, taken: bool, state: State) -> tuple[int, State]:
        """What the last instruction of a block costs more when it jumps."""
        if not taken:
            return 0, state
        if last.kind is Kind.TABLE_BRANCH:
            return 0, self.start  # its 4 cycles hold the jump
        if last.kind is Kind.LOAD:
            return 1, self.start  # LDR to the PC: 3 in all
        return REFILL_CYCLES, self.start


def _cost(instruction: Instruction, before: State) -> int:
    if instruction.words == 0:
        return _FIXED.get(instruction.kind, 1)
    # The address comes out of the ALU one cycle too late.
    wait = 1 if before.computed.intersection(instruction.address) else 0
    if instruction.kind is Kind.MULTIPLE:
        return 1 + instruction.words + wait
    if _is_float(instruction):
        return 2 + wait
    if instruction.is_store and not instruction.register_offset:
        return 1 + wait
    overlaps = before.loaded and not before.loaded.intersection(instruction.address)
    return (1 if overlaps else 2) + wait


def _leaves_behind(instruction: Instruction) -> State:
    if instruction.kind in (Kind.LOAD, Kind.LOAD_NARROW) and not _is_float(instruction):
        return State(loaded=frozenset(instruction.results) - {PC})
    if instruction.kind in _COMPUTING:
        return State(computed=frozenset(instruction.results))
    return _NOTHING


def _is_float(instruction: Instruction) -> bool:
    return instruction.mnemonic.startswith("v")
