"""ARMv7-M, without the DSP extension: what compilers and the back end find in plain expressions.

Nothing here needs a name in the loop IR. Source: Armv7-M Architecture Reference Manual (DDI 0403),
A7.7.
"""

from __future__ import annotations

from utvm.ir.isa.bodies import scalar
from utvm.ir.isa.instruction import Pattern

_ONE, _TWO = {"a": "int32[1]"}, {"a": "int32[1]", "b": "int32[1]"}
_THREE = {"a": "int8[1]", "b": "int8[1]", "acc": "int32[1]"}

PATTERNS = (
    Pattern("mla", scalar(_THREE, "(acc[0] >> 1) + int32(a[0]) * int32(b[0])")),
    Pattern("mls", scalar(_THREE, "(acc[0] >> 1) - int32(a[0]) * int32(b[0])")),
    Pattern("ssat", scalar(_ONE, "min(max(a[0], -128), 127)")),
    Pattern("ssat", scalar(_ONE, "min(max(a[0] >> 9, -32768), 32767)")),
    Pattern("usat", scalar(_ONE, "min(max(a[0], 0), 255)")),
    Pattern("clz", scalar(_ONE, "clz(a[0])")),
    Pattern("ldr", scalar({"a": "int8[4]"}, "a[0] lanes 4")),
    Pattern("ldr", scalar({"a": "int16[2]"}, "a[0] lanes 2")),
    Pattern("ldrsb", scalar({"a": "int8[1]"}, "int32(a[0])")),
    Pattern("ldrsh", scalar({"a": "int16[1]"}, "int32(a[0])")),
)
