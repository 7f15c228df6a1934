"""Packed words: what the SIMD instructions of ARMv7E-M do to two halfwords in one int32.

Each function is the exact meaning of one intrinsic on Python ints: operands and results are int32.
Names are those of the Arm C Language Extensions (ACLE, Arm IHI 0053), without underscores. Source:
Armv7-M Architecture Reference Manual (DDI 0403), A7.7.
"""

from __future__ import annotations

from collections.abc import Callable

WORD = 1 << 32


def wrap(value: int) -> int:
    """``value`` modulo 2^32 as an int32."""
    return (value + (1 << 31)) % WORD - (1 << 31)


def low(x: int) -> int:
    """The signed lower halfword."""
    return (x + (1 << 15)) % (1 << 16) - (1 << 15)


def high(x: int) -> int:
    """The signed upper halfword."""
    return wrap(x) >> 16


def pair(bottom: int, top: int) -> int:
    """The word with these halfwords."""
    return wrap((bottom & 0xFFFF) | (top & 0xFFFF) << 16)


def _byte(x: int, index: int) -> int:
    return (((x >> 8 * index) & 0xFF) ^ 0x80) - 0x80


def smlad(a: int, b: int, acc: int) -> int:
    """acc plus the products of lower and of upper halfwords."""
    return wrap(acc + low(a) * low(b) + high(a) * high(b))


def smladx(a: int, b: int, acc: int) -> int:
    """acc plus the crosswise products of the halfwords."""
    return wrap(acc + low(a) * high(b) + high(a) * low(b))


def smuad(a: int, b: int) -> int:
    """The sum of the products of lower and of upper halfwords."""
    return smlad(a, b, 0)


def smlabb(a: int, b: int, acc: int) -> int:
    """acc plus the product of the lower halfwords."""
    return wrap(acc + low(a) * low(b))


def smlabt(a: int, b: int, acc: int) -> int:
    """acc plus a's lower times b's upper halfword."""
    return wrap(acc + low(a) * high(b))


def smlatb(a: int, b: int, acc: int) -> int:
    """acc plus a's upper times b's lower halfword."""
    return wrap(acc + high(a) * low(b))


def smlatt(a: int, b: int, acc: int) -> int:
    """acc plus the product of the upper halfwords."""
    return wrap(acc + high(a) * high(b))


def sxtb16(x: int) -> int:
    """Bytes 0 and 2 as signed halfwords."""
    return pair(_byte(x, 0), _byte(x, 2))


def sxtb16_ror8(x: int) -> int:
    """Bytes 1 and 3 as signed halfwords."""
    return pair(_byte(x, 1), _byte(x, 3))


def uxtb16(x: int) -> int:
    """Bytes 0 and 2 as unsigned halfwords."""
    return pair(x & 0xFF, x >> 16 & 0xFF)


def uxtb16_ror8(x: int) -> int:
    """Bytes 1 and 3 as unsigned halfwords."""
    return pair(x >> 8 & 0xFF, x >> 24 & 0xFF)


def pkhbt(a: int, b: int) -> int:
    """a's lower halfword below b's lower halfword (PKHBT with LSL #16)."""
    return pair(a, b)


def pkhtb(a: int, b: int) -> int:
    """b's upper halfword below a's upper halfword (PKHTB with ASR #16)."""
    return pair(high(b), high(a))


def sadd16(a: int, b: int) -> int:
    """Halfword-wise sum, modulo 2^16."""
    return pair(low(a) + low(b), high(a) + high(b))


def ssub16(a: int, b: int) -> int:
    """Halfword-wise difference, modulo 2^16."""
    return pair(low(a) - low(b), high(a) - high(b))


MEANINGS: dict[str, Callable[..., int]] = {
    function.__name__: function
    for function in (
        *(smlad, smladx, smuad, smlabb, smlabt, smlatb, smlatt),
        *(sxtb16, sxtb16_ror8, uxtb16, uxtb16_ror8, pkhbt, pkhtb, sadd16, ssub16),
    )
}
"""By name of the intrinsic."""
