"""ARMv7E-M, and ARMv8-M with the DSP extension: two halfwords or four bytes in one word.

Names are those of the Arm C Language Extensions (ACLE, Arm IHI 0053), without underscores; a suffix
stands for an operand that is fixed (``sxtb16_ror8`` rotates by 8, ``ssat16_8`` saturates to 8
bits). Source: Armv7-M Architecture Reference Manual (DDI 0403), A7.7.
"""

from __future__ import annotations

from utvm.ir.isa.bodies import (
    BYTES,
    DIFFERENCE,
    HALVES,
    SUM,
    UNSIGNED,
    clamped,
    lanes,
    products,
)
from utvm.ir.isa.instruction import ONE, SHIFTED, SOURCE, THREE, TWO, instruction
from utvm.ir.isa.words import (
    byte,
    four_bytes,
    half,
    halves,
    high,
    low,
    pair,
    saturate,
    saturate_unsigned,
    ubyte,
    wrap,
)


@instruction("utvm_wrapping_sum(acc, utvm_low(a) * utvm_low(b))", "smlabb" + THREE, "multiply")
def smlabb(a: int, b: int, acc: int) -> int:
    """acc plus the product of the lower halfwords."""
    return wrap(acc + low(a) * low(b))


@instruction("utvm_wrapping_sum(acc, utvm_low(a) * utvm_high(b))", "smlabt" + THREE, "multiply")
def smlabt(a: int, b: int, acc: int) -> int:
    """acc plus a's lower times b's upper halfword."""
    return wrap(acc + low(a) * high(b))


@instruction("utvm_wrapping_sum(acc, utvm_high(a) * utvm_low(b))", "smlatb" + THREE, "multiply")
def smlatb(a: int, b: int, acc: int) -> int:
    """acc plus a's upper times b's lower halfword."""
    return wrap(acc + high(a) * low(b))


@instruction("utvm_wrapping_sum(acc, utvm_high(a) * utvm_high(b))", "smlatt" + THREE, "multiply")
def smlatt(a: int, b: int, acc: int) -> int:
    """acc plus the product of the upper halfwords."""
    return wrap(acc + high(a) * high(b))


@instruction(
    "utvm_smlatt(a, b, utvm_smlabb(a, b, acc))",
    "smlad" + THREE,
    "multiply",
    products("int32(a[k]) * int32(b[k])"),
)
def smlad(a: int, b: int, acc: int) -> int:
    """acc plus the products of lower and of upper halfwords."""
    return wrap(acc + low(a) * low(b) + high(a) * high(b))


@instruction(
    "utvm_smlatb(a, b, utvm_smlabt(a, b, acc))",
    "smladx" + THREE,
    "multiply",
    products("int32(a[k]) * int32(b[1 - k])"),
)
def smladx(a: int, b: int, acc: int) -> int:
    """acc plus the crosswise products of the halfwords."""
    return wrap(acc + low(a) * high(b) + high(a) * low(b))


@instruction("utvm_smlad(a, b, 0)", "smuad" + TWO, "multiply")
def smuad(a: int, b: int) -> int:
    """The sum of the products of lower and of upper halfwords."""
    return wrap(low(a) * low(b) + high(a) * high(b))


@instruction("utvm_smladx(a, b, 0)", "smuadx" + TWO, "multiply")
def smuadx(a: int, b: int) -> int:
    """The sum of the crosswise products of the halfwords."""
    return wrap(low(a) * high(b) + high(a) * low(b))


@instruction("utvm_low(a) * utvm_low(b) - utvm_high(a) * utvm_high(b)", "smusd" + TWO, "multiply")
def smusd(a: int, b: int) -> int:
    """The product of lower less that of upper halfwords."""
    return wrap(low(a) * low(b) - high(a) * high(b))


@instruction("utvm_wrapping_sum(acc, utvm_smusd(a, b))", "smlsd" + THREE, "multiply")
def smlsd(a: int, b: int, acc: int) -> int:
    """acc plus the product of lower less that of upper halfwords."""
    return wrap(acc + low(a) * low(b) - high(a) * high(b))


@instruction("(int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32)", "smmulr" + TWO, "multiply")
def smmulr(a: int, b: int) -> int:
    """ab / 2^32, rounded to the nearest, halves up."""
    return wrap(a * b + (1 << 31) >> 32)


@instruction("utvm_saturated((int64_t)a + b)", "qadd" + TWO, "saturate")
def qadd(a: int, b: int) -> int:
    """The sum, saturated."""
    return saturate(a + b, 32)


@instruction("utvm_saturated((int64_t)a - b)", "qsub" + TWO, "saturate")
def qsub(a: int, b: int) -> int:
    """The difference, saturated."""
    return saturate(a - b, 32)


@instruction(
    "utvm_pair((int8_t)(x & 0xff), (int8_t)(x >> 16 & 0xff))",
    "sxtb16" + ONE,
    "extend",
    lanes({"x": "int8[4]"}, "int16[2]", 2, "int16(x[2 * k])"),
)
def sxtb16(x: int) -> int:
    """Bytes 0 and 2 as signed halfwords."""
    return pair(byte(x, 0), byte(x, 2))


@instruction(
    "utvm_pair((int8_t)(x >> 8 & 0xff), x >> 24)",
    "sxtb16" + ONE + ", ror #8",
    "extend",
    lanes({"x": "int8[4]"}, "int16[2]", 2, "int16(x[2 * k + 1])"),
)
def sxtb16_ror8(x: int) -> int:
    """Bytes 1 and 3 as signed halfwords."""
    return pair(byte(x, 1), byte(x, 3))


@instruction(
    "x & 0x00ff00ff",
    "uxtb16" + ONE,
    "extend",
    lanes({"x": "uint8[4]"}, "int16[2]", 2, "int16(x[2 * k])"),
)
def uxtb16(x: int) -> int:
    """Bytes 0 and 2 as unsigned halfwords."""
    return pair(ubyte(x, 0), ubyte(x, 2))


@instruction(
    "x >> 8 & 0x00ff00ff",
    "uxtb16" + ONE + ", ror #8",
    "extend",
    lanes({"x": "uint8[4]"}, "int16[2]", 2, "int16(x[2 * k + 1])"),
)
def uxtb16_ror8(x: int) -> int:
    """Bytes 1 and 3 as unsigned halfwords."""
    return pair(ubyte(x, 1), ubyte(x, 3))


@instruction(
    "utvm_half(a, i) + utvm_byte(x, 2 * i)",
    "sxtab16" + TWO,
    "extend",
    lanes({"a": "int16[2]", "x": "int8[4]"}, "int16[2]", 2, "a[k] + int16(x[2 * k])"),
    c_lanes=2,
)
def sxtab16(a: int, x: int) -> int:
    """a's halfwords plus x's bytes 0 and 2, signed, modulo 2^16."""
    return halves(lambda i: half(a, i) + byte(x, 2 * i))


@instruction(
    "utvm_half(a, i) + utvm_byte(x, 2 * i + 1)",
    "sxtab16" + TWO + ", ror #8",
    "extend",
    lanes({"a": "int16[2]", "x": "int8[4]"}, "int16[2]", 2, "a[k] + int16(x[2 * k + 1])"),
    c_lanes=2,
    roles=(SOURCE, SHIFTED),
)
def sxtab16_ror8(a: int, x: int) -> int:
    """a's halfwords plus x's bytes 1 and 3, signed, modulo 2^16."""
    return halves(lambda i: half(a, i) + byte(x, 2 * i + 1))


@instruction(
    "utvm_half(a, i) + utvm_ubyte(x, 2 * i)",
    "uxtab16" + TWO,
    "extend",
    lanes({"a": "int16[2]", "x": "uint8[4]"}, "int16[2]", 2, "a[k] + int16(x[2 * k])"),
    c_lanes=2,
)
def uxtab16(a: int, x: int) -> int:
    """a's halfwords plus x's bytes 0 and 2, unsigned, modulo 2^16."""
    return halves(lambda i: half(a, i) + ubyte(x, 2 * i))


@instruction(
    "utvm_half(a, i) + utvm_ubyte(x, 2 * i + 1)",
    "uxtab16" + TWO + ", ror #8",
    "extend",
    lanes({"a": "int16[2]", "x": "uint8[4]"}, "int16[2]", 2, "a[k] + int16(x[2 * k + 1])"),
    c_lanes=2,
    roles=(SOURCE, SHIFTED),
)
def uxtab16_ror8(a: int, x: int) -> int:
    """a's halfwords plus x's bytes 1 and 3, unsigned, modulo 2^16."""
    return halves(lambda i: half(a, i) + ubyte(x, 2 * i + 1))


@instruction("utvm_pair(a, b)", "pkhbt" + TWO + ", lsl #16", "extend", roles=(SOURCE, SHIFTED))
def pkhbt(a: int, b: int) -> int:
    """a's lower halfword below b's lower halfword (PKHBT with LSL #16)."""
    return pair(a, b)


@instruction(
    "utvm_pair(utvm_high(b), utvm_high(a))",
    "pkhtb" + TWO + ", asr #16",
    "extend",
    roles=(SOURCE, SHIFTED),
)
def pkhtb(a: int, b: int) -> int:
    """b's upper halfword below a's upper halfword (PKHTB with ASR #16)."""
    return pair(high(b), high(a))


@instruction(
    "utvm_pair(utvm_low(a) + utvm_low(b), utvm_high(a) + utvm_high(b))",
    "sadd16" + TWO,
    "extend",
    lanes(HALVES, "int16[2]", 2, "a[k] + b[k]"),
)
def sadd16(a: int, b: int) -> int:
    """Halfword-wise sum, modulo 2^16."""
    return halves(lambda i: half(a, i) + half(b, i))


@instruction(
    "utvm_pair(utvm_low(a) - utvm_low(b), utvm_high(a) - utvm_high(b))",
    "ssub16" + TWO,
    "extend",
    lanes(HALVES, "int16[2]", 2, "a[k] - b[k]"),
)
def ssub16(a: int, b: int) -> int:
    """Halfword-wise difference, modulo 2^16."""
    return halves(lambda i: half(a, i) - half(b, i))


@instruction(
    "utvm_byte(a, i) + utvm_byte(b, i)",
    "sadd8" + TWO,
    "extend",
    lanes(BYTES, "int8[4]", 4, "a[k] + b[k]"),
    c_lanes=4,
)
def sadd8(a: int, b: int) -> int:
    """Byte-wise sum, modulo 2^8."""
    return four_bytes(lambda i: byte(a, i) + byte(b, i))


@instruction(
    "utvm_byte(a, i) - utvm_byte(b, i)",
    "ssub8" + TWO,
    "extend",
    lanes(BYTES, "int8[4]", 4, "a[k] - b[k]"),
    c_lanes=4,
)
def ssub8(a: int, b: int) -> int:
    """Byte-wise difference, modulo 2^8."""
    return four_bytes(lambda i: byte(a, i) - byte(b, i))


@instruction(
    "(utvm_half(a, i) + utvm_half(b, i)) >> 1",
    "shadd16" + TWO,
    "extend",
    lanes(HALVES, "int16[2]", 2, f"int16({SUM} >> 1)"),
    c_lanes=2,
)
def shadd16(a: int, b: int) -> int:
    """Half of the halfword-wise sum, rounded down."""
    return halves(lambda i: half(a, i) + half(b, i) >> 1)


@instruction(
    "utvm_clamped(utvm_half(a, i) + utvm_half(b, i), -32768, 32767)",
    "qadd16" + TWO,
    "saturate",
    lanes(HALVES, "int16[2]", 2, clamped(SUM, -32768, 32767, "int16")),
    c_lanes=2,
)
def qadd16(a: int, b: int) -> int:
    """Halfword-wise sum, saturated."""
    return halves(lambda i: saturate(half(a, i) + half(b, i), 16))


@instruction(
    "utvm_clamped(utvm_half(a, i) - utvm_half(b, i), -32768, 32767)",
    "qsub16" + TWO,
    "saturate",
    lanes(HALVES, "int16[2]", 2, clamped(DIFFERENCE, -32768, 32767, "int16")),
    c_lanes=2,
)
def qsub16(a: int, b: int) -> int:
    """Halfword-wise difference, saturated."""
    return halves(lambda i: saturate(half(a, i) - half(b, i), 16))


@instruction(
    "utvm_clamped(utvm_byte(a, i) + utvm_byte(b, i), -128, 127)",
    "qadd8" + TWO,
    "saturate",
    lanes(BYTES, "int8[4]", 4, clamped(SUM, -128, 127, "int8")),
    c_lanes=4,
)
def qadd8(a: int, b: int) -> int:
    """Byte-wise sum, saturated."""
    return four_bytes(lambda i: saturate(byte(a, i) + byte(b, i), 8))


@instruction(
    "utvm_clamped(utvm_byte(a, i) - utvm_byte(b, i), -128, 127)",
    "qsub8" + TWO,
    "saturate",
    lanes(BYTES, "int8[4]", 4, clamped(DIFFERENCE, -128, 127, "int8")),
    c_lanes=4,
)
def qsub8(a: int, b: int) -> int:
    """Byte-wise difference, saturated."""
    return four_bytes(lambda i: saturate(byte(a, i) - byte(b, i), 8))


@instruction(
    "utvm_clamped(utvm_ubyte(a, i) + utvm_ubyte(b, i), 0, 255)",
    "uqadd8" + TWO,
    "saturate",
    lanes(UNSIGNED, "uint8[4]", 4, f"uint8(min({SUM}, 255))"),
    c_lanes=4,
)
def uqadd8(a: int, b: int) -> int:
    """Byte-wise sum of unsigned bytes, saturated."""
    return four_bytes(lambda i: saturate_unsigned(ubyte(a, i) + ubyte(b, i), 8))


@instruction(
    "utvm_clamped(utvm_ubyte(a, i) - utvm_ubyte(b, i), 0, 255)",
    "uqsub8" + TWO,
    "saturate",
    lanes(UNSIGNED, "uint8[4]", 4, f"uint8(max({DIFFERENCE}, 0))"),
    c_lanes=4,
)
def uqsub8(a: int, b: int) -> int:
    """Byte-wise difference of unsigned bytes, at least zero."""
    return four_bytes(lambda i: saturate_unsigned(ubyte(a, i) - ubyte(b, i), 8))


@instruction(
    "utvm_clamped(utvm_half(x, i), -128, 127)",
    "ssat16 {d}, #8, {a}",
    "saturate",
    lanes({"x": "int16[2]"}, "int16[2]", 2, "min(max(x[k], -128i16), 127i16)"),
    c_lanes=2,
    roles=(SHIFTED,),
)
def ssat16_8(x: int) -> int:
    """Halfwords, saturated to -128 to 127."""
    return halves(lambda i: saturate(half(x, i), 8))


@instruction(
    "utvm_clamped(utvm_half(x, i), 0, 255)",
    "usat16 {d}, #8, {a}",
    "saturate",
    lanes({"x": "int16[2]"}, "int16[2]", 2, "min(max(x[k], 0i16), 255i16)"),
    c_lanes=2,
    roles=(SHIFTED,),
)
def usat16_8(x: int) -> int:
    """Halfwords, saturated to 0 to 255."""
    return halves(lambda i: saturate_unsigned(half(x, i), 8))


INSTRUCTIONS = (
    smlabb,
    smlabt,
    smlatb,
    smlatt,
    smlad,
    smladx,
    smuad,
    smuadx,
    smusd,
    smlsd,
    smmulr,
    qadd,
    qsub,
    sxtb16,
    sxtb16_ror8,
    uxtb16,
    uxtb16_ror8,
    sxtab16,
    sxtab16_ror8,
    uxtab16,
    uxtab16_ror8,
    pkhbt,
    pkhtb,
    sadd16,
    ssub16,
    sadd8,
    ssub8,
    shadd16,
    qadd16,
    qsub16,
    qadd8,
    qsub8,
    uqadd8,
    uqsub8,
    ssat16_8,
    usat16_8,
)
