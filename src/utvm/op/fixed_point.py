"""Fixed-point arithmetic on NumPy arrays, exact to the bit with the reference kernels of LiteRT.

In: integer arrays (or scalars) that hold int32 or int64 values. Out: int32 arrays. Where C would
wrap an int32, these functions wrap. A real factor is held as a Q31 multiplier in [2^30, 2^31) and a
shift, positive to the left. Two roundings exist and must not be mixed up: the high multiply rounds
half up, the power-of-two division rounds half away from zero. Sources: gemmlowp
fixedpoint/fixedpoint.h; TFLite kernels/internal/common.cc and quantization_util.cc (double
rounding, TFLITE_SINGLE_ROUNDING off, as the LiteRT wheels are built).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]

INT32_MIN = -(1 << 31)
INT32_MAX = (1 << 31) - 1


def int64_of(values: npt.ArrayLike) -> Int64Array:
    """``values`` as int64, so that the product of two int32 values is exact."""
    return np.asarray(values).astype(np.int64, copy=False)


def wrap_int32(values: Int64Array) -> Int32Array:
    """The low 32 bits, as an int32 register keeps them."""
    return np.asarray(values).astype(np.int32)


def saturate(values: npt.ArrayLike, low: int, high: int) -> Int64Array:
    return np.clip(int64_of(values), low, high)


def round_half_away(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """C's ``round``: to the nearest integer, halves away from zero."""
    real = np.asarray(values, dtype=np.float64)
    whole = np.trunc(real)
    # The difference is exact, so a value just below one half is never rounded up.
    return np.where(np.abs(real - whole) >= 0.5, whole + np.copysign(1.0, real), whole)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """``real`` as (Q31 multiplier, left shift): real = multiplier * 2^(shift - 31).

    Magnitudes below about 2^-32 become (0, 0), since a right shift above 31 would be undefined in
    C.
    """
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = int(round_half_away(fraction * (1 << 31)))
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    return multiplier, shift


def saturating_rounding_doubling_high_mul(a: npt.ArrayLike, b: npt.ArrayLike) -> Int32Array:
    """The high word of 2ab for int32 a and b, halves up, as Arm's SQRDMULH does it.

    gemmlowp's nudge and truncating division come to the same as one floor shift:
    (ab + nudge) / 2^31 truncated == (ab + 2^30) >> 31 for either sign of ab.
    """
    product = int64_of(a) * int64_of(b)
    return wrap_int32(np.minimum((product + (1 << 30)) >> 31, INT32_MAX))


def saturating_rounding_doubling_high_mul_16(a: npt.ArrayLike, b: npt.ArrayLike) -> Int32Array:
    """The same for int16 a and b: (ab + 2^14) >> 15, saturated to int16."""
    product = int64_of(a) * int64_of(b)
    return wrap_int32(np.minimum((product + (1 << 14)) >> 15, (1 << 15) - 1))


def rounding_divide_by_pot(x: npt.ArrayLike, exponent: npt.ArrayLike) -> Int32Array:
    """x / 2^exponent to the nearest, halves away from zero; 0 <= exponent <= 31."""
    value, right = int64_of(x), int64_of(exponent)
    mask = (np.int64(1) << right) - 1
    threshold = (mask >> 1) + (value < 0)
    return ((value >> right) + ((value & mask) > threshold)).astype(np.int32)


def multiply_by_quantized_multiplier(
    x: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike
) -> Int32Array:
    """An int32 value times a real factor, rounded after the multiply and after the shift."""
    left = np.maximum(int64_of(shift), 0)
    right = np.maximum(-int64_of(shift), 0)
    shifted = wrap_int32(int64_of(x) << left)
    return rounding_divide_by_pot(saturating_rounding_doubling_high_mul(shifted, multiplier), right)


def reduced_multiplier(multiplier: npt.ArrayLike) -> Int32Array:
    """A Q31 multiplier rounded to Q15, as the int64 accumulators of int16 kernels use it."""
    m = int64_of(multiplier)
    return np.where(m < 0x7FFF0000, (m + (1 << 15)) >> 16, 0x7FFF).astype(np.int32)


def multiply_by_quantized_multiplier_wide(
    x: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike
) -> Int32Array:
    """An int64 value times a real factor, rounded once, halves up.

    |x| < 2^47; -31 <= shift <= 14 (the kernels promise shift < 8, but compute the same up to 14).
    """
    total = 15 - int64_of(shift)
    rounding = np.int64(1) << (total - 1)
    return wrap_int32((int64_of(x) * reduced_multiplier(multiplier) + rounding) >> total)


def requantize(
    acc: npt.ArrayLike,
    multiplier: npt.ArrayLike,
    shift: npt.ArrayLike,
    zero_point: int,
    qmin: int,
    qmax: int,
    *,
    wide: bool = False,
) -> Int32Array:
    """An accumulator brought to the output scale, moved by its zero point and clamped.

    ``multiplier`` and ``shift`` broadcast against ``acc``: with channels last, pass one per
    channel. ``wide`` selects the int64 version that int16 activations use.
    """
    scale = multiply_by_quantized_multiplier_wide if wide else multiply_by_quantized_multiplier
    moved = wrap_int32(int64_of(scale(acc, multiplier, shift)) + zero_point)
    return np.clip(moved, qmin, qmax).astype(np.int32)


def rounding_half_sum(a: npt.ArrayLike, b: npt.ArrayLike) -> Int32Array:
    """(a + b) / 2, halves away from zero."""
    total = int64_of(a) + int64_of(b)
    away = total + np.where(total >= 0, 1, -1)
    return np.where(away >= 0, away >> 1, -((-away) >> 1)).astype(np.int32)


def rescale_integer_bits(x: npt.ArrayLike, from_bits: int, to_bits: int) -> Int32Array:
    """A fixed-point number with another count of integer bits: saturates when that shrinks.

    gemmlowp compares against -(2^n - 1) on the negative side, which shows only at INT32_MIN.
    """
    if to_bits >= from_bits:
        return rounding_divide_by_pot(x, to_bits - from_bits)
    left = from_bits - to_bits
    threshold = (1 << (31 - left)) - 1
    value = int64_of(x)
    wrapped = int64_of(wrap_int32(value << left))
    high = np.where(value > threshold, INT32_MAX, wrapped)
    return np.where(value < -threshold, INT32_MIN, high).astype(np.int32)


def exp_on_small_interval(x: npt.ArrayLike) -> Int32Array:
    """exp in Q0.31 for x in [-1/4, 0): a Taylor polynomial of degree four around -1/8."""
    mul = saturating_rounding_doubling_high_mul
    constant = 1895147668  # exp(-1/8)
    third = 715827883  # 1/3
    t = wrap_int32(int64_of(x) + (1 << 28))
    t2 = mul(t, t)
    t3 = mul(t2, t)
    t4_over_4 = rounding_divide_by_pot(mul(t2, t2), 2)
    cubic = int64_of(mul(wrap_int32(int64_of(t4_over_4) + t3), third)) + t2
    tail = rounding_divide_by_pot(wrap_int32(cubic), 1)
    return wrap_int32(constant + int64_of(mul(constant, wrap_int32(int64_of(t) + tail))))


# exp(-2^k) in Q0.31, by k: one factor per bit of the part above a quarter.
_EXP_FACTORS = {
    -2: 1672461947,
    -1: 1302514674,
    0: 790015084,
    1: 290630308,
    2: 39332535,
    3: 720401,
    4: 242,
}


def exp_on_negative_values(x: npt.ArrayLike, integer_bits: int) -> Int32Array:
    """exp in Q0.31 for x <= 0 in Q(integer_bits); integer_bits <= 5, as softmax uses it."""
    value = int64_of(x)
    fractional_bits = 31 - integer_bits
    quarter = 1 << (fractional_bits - 2)
    remainder_low = (value & (quarter - 1)) - quarter
    result = exp_on_small_interval(rescale_integer_bits(remainder_low, integer_bits, 0))
    remainder = remainder_low - value
    for exponent, factor in _EXP_FACTORS.items():
        if integer_bits > exponent:
            scaled = saturating_rounding_doubling_high_mul(result, factor)
            bit = np.int64(1) << (fractional_bits + exponent)
            result = np.where(remainder & bit, scaled, result)
    return np.where(value == 0, INT32_MAX, result).astype(np.int32)


def one_over_one_plus_x(x: npt.ArrayLike) -> Int32Array:
    """1 / (1 + x) in Q0.31 for x in (0, 1): three Newton steps on half the denominator."""
    mul = saturating_rounding_doubling_high_mul
    half = rounding_half_sum(x, INT32_MAX)
    one_q2 = 1 << 29
    estimate = wrap_int32(1515870810 + int64_of(mul(half, -1010580540)))  # 48/17 - 32/17 d
    for _ in range(3):
        error = wrap_int32(one_q2 - int64_of(mul(half, estimate)))
        # Q2 times Q2 is Q4, brought back to Q2 with saturation.
        step = rescale_integer_bits(mul(estimate, error), 4, 2)
        estimate = wrap_int32(int64_of(estimate) + step)
    # Half of a Q2 number is the same bits read as Q1.
    return rescale_integer_bits(estimate, 1, 0)


def count_leading_zeros(x: npt.ArrayLike) -> Int64Array:
    """Leading zero bits of a uint32 value; 32 for zero."""
    value = int64_of(x) & 0xFFFFFFFF
    # float64 holds every uint32 exactly, so its exponent is the bit length.
    _, bits = np.frexp(value.astype(np.float64))
    return 32 - bits.astype(np.int64)


def get_reciprocal(x: npt.ArrayLike, integer_bits: int) -> tuple[Int32Array, Int64Array]:
    """1/x for positive x in Q(integer_bits): (Q0.31 mantissa, bits to shift right)."""
    headroom = count_leading_zeros(x)
    fraction = wrap_int32((int64_of(x) << headroom) - (1 << 31))
    return one_over_one_plus_x(fraction), integer_bits - headroom
