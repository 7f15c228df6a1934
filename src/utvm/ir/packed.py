"""Packed words: what each named instruction does to words, by its name in the loop IR.

Each function is the exact meaning of one intrinsic on Python ints: operands and results are int32.
The instructions stand in ``utvm.ir.isa``, one file per instruction set.
"""

from __future__ import annotations

from collections.abc import Callable

from utvm.ir.isa.table import INSTRUCTIONS

MEANINGS: dict[str, Callable[..., int]] = {
    name: instruction.meaning for name, instruction in INSTRUCTIONS.items()
}
"""By name of the intrinsic."""
