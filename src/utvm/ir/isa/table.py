"""The instruction sets that utvm knows: one row per file of this folder.

An instruction set with named instructions joins ``INSTRUCTION_SETS``; plain ones that compilers
find themselves are listed in ``PATTERNS``, by the smallest core that has them.
"""

from __future__ import annotations

from collections.abc import Mapping

from utvm.ir.isa import armv6_m, armv7_m, armv7e_m, fpv4
from utvm.ir.isa.instruction import Instruction, Pattern

INSTRUCTION_SETS: Mapping[str, tuple[Instruction, ...]] = {
    "armv7e-m": armv7e_m.INSTRUCTIONS,
    "fpv4": fpv4.INSTRUCTIONS,
}
PATTERNS: Mapping[str, tuple[Pattern, ...]] = {
    "cortex-m0plus": armv6_m.PATTERNS,
    "cortex-m3": armv7_m.PATTERNS,
}
ALL = tuple(one for many in INSTRUCTION_SETS.values() for one in many)
INSTRUCTIONS: Mapping[str, Instruction] = {one.name: one for one in ALL if one.dtype == "int32"}
"""The named instructions on words, by name."""
FLOAT_INSTRUCTIONS: Mapping[str, Instruction] = {
    one.name: one for one in ALL if one.dtype == "float32"
}
"""Those on floats, by name."""
