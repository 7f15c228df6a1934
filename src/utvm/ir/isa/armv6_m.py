"""ARMv6-M (Cortex-M0, M0+): what plain expressions may become.

There is no multiply-accumulate, no saturation and no access to unaligned words; a high product
takes a function. Source: Armv6-M Architecture Reference Manual (DDI 0419), A6.7.
"""

from __future__ import annotations

from utvm.ir.isa.bodies import scalar
from utvm.ir.isa.instruction import Pattern

_WORD = {"a": "int32[1]"}

PATTERNS = (
    Pattern("muls", scalar({"a": "int16[1]", "b": "int16[1]"}, "int32(a[0]) * int32(b[0])")),
    Pattern("sxtb", scalar(_WORD, "int32(int8(a[0]))")),
    Pattern("sxth", scalar(_WORD, "int32(int16(a[0]))")),
    Pattern("uxtb", scalar(_WORD, "int32(uint8(a[0]))")),
    Pattern("uxth", scalar(_WORD, "int32(uint16(a[0]))")),
    Pattern("asrs", scalar(_WORD, "a[0] >> 9")),
)
