"""Cycles of a Cortex-M0+, after the instruction summary of its manual (Arm DDI 0484).

In: decoded instructions. Out: cycles at zero wait states. The core is so simple that nothing
depends on the instruction before, hence the state is empty. The multiplier is the fast one.
"""

from __future__ import annotations

from collections.abc import Sequence

from utvm.device.emulator_decode import Instruction, Kind

State = tuple[()]

_FIXED = {Kind.BARRIER: 3, Kind.SYSTEM: 3, Kind.LOAD: 2, Kind.LOAD_NARROW: 2, Kind.STORE: 2}


class CortexM0Plus:
    """The cycle model ``cortex-m0plus``."""

    start: State = ()
    mispredict_cycles = 0
    predicts_branches = False

    def block(self, instructions: Sequence[Instruction], state: State) -> tuple[int, State]:
        """Cycles of a straight line whose last branch, if any, is not taken."""
        return sum(_cost(instruction) for instruction in instructions), state

    def leave(self, last: Instruction, taken: bool, state: State) -> tuple[int, State]:
        """What the last instruction of a block costs more when it jumps."""
        if not taken:
            return 0, state
        if last.mnemonic == "bl" or last.kind is Kind.MULTIPLE:
            return 2, state  # BL takes 3, POP with the PC 3 + N
        return 1, state


def _cost(instruction: Instruction) -> int:
    if instruction.kind is Kind.MULTIPLE:
        return 1 + instruction.words
    return _FIXED.get(instruction.kind, 1)
