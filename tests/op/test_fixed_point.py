"""The fixed-point primitives against their definitions in exact integer arithmetic.

The expected values come from Python's unbounded integers and from fractions, written as the
reference states them: a nudge and a truncating division, not the shifts of the code under test.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utvm.op.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    count_leading_zeros,
    exp_on_negative_values,
    get_reciprocal,
    multiply_by_quantized_multiplier,
    multiply_by_quantized_multiplier_wide,
    one_over_one_plus_x,
    quantize_multiplier,
    reduced_multiplier,
    requantize,
    round_half_away,
    rounding_divide_by_pot,
    rounding_half_sum,
    saturating_rounding_doubling_high_mul,
    saturating_rounding_doubling_high_mul_16,
)

int32s = st.integers(INT32_MIN, INT32_MAX)
int16s = st.integers(-(1 << 15), (1 << 15) - 1)


def truncated(numerator: int, denominator: int) -> int:
    magnitude = abs(numerator) // abs(denominator)
    return magnitude if (numerator < 0) == (denominator < 0) else -magnitude


def nearest_away(value: Fraction) -> int:
    whole = math.floor(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


@given(int32s, int32s)
def test_high_mul_nudges_and_truncates(a: int, b: int) -> None:
    product = a * b
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    expected = min(truncated(product + nudge, 1 << 31), INT32_MAX)
    assert saturating_rounding_doubling_high_mul(a, b) == expected


def test_high_mul_saturates_at_the_one_overflow() -> None:
    assert saturating_rounding_doubling_high_mul(INT32_MIN, INT32_MIN) == INT32_MAX
    assert saturating_rounding_doubling_high_mul_16(-(1 << 15), -(1 << 15)) == (1 << 15) - 1


@given(int16s, int16s)
def test_high_mul_16_nudges_and_truncates(a: int, b: int) -> None:
    product = a * b
    nudge = (1 << 14) if product >= 0 else 1 - (1 << 14)
    expected = min(truncated(product + nudge, 1 << 15), (1 << 15) - 1)
    assert saturating_rounding_doubling_high_mul_16(a, b) == expected


@given(int32s, st.integers(0, 31))
def test_division_by_a_power_of_two_rounds_halves_away(x: int, exponent: int) -> None:
    assert rounding_divide_by_pot(x, exponent) == nearest_away(Fraction(x, 1 << exponent))


@given(int32s, int32s)
def test_half_sum_rounds_halves_away(a: int, b: int) -> None:
    assert rounding_half_sum(a, b) == nearest_away(Fraction(a + b, 2))


@given(st.floats(-1e15, 1e15))
def test_round_takes_halves_away_from_zero(x: float) -> None:
    assert round_half_away(x) == nearest_away(Fraction(x))


def test_round_leaves_the_value_just_below_a_half() -> None:
    assert round_half_away(math.nextafter(0.5, 0.0)) == 0.0
    np.testing.assert_array_equal(round_half_away([-0.5, 0.5, 1.5, -2.5]), [-1, 1, 2, -3])


@given(st.floats(2.0**-31, 2.0**30))
def test_multiplier_is_the_nearest_31_bit_fraction(real: float) -> None:
    multiplier, shift = quantize_multiplier(real)
    assert 1 << 30 <= multiplier <= INT32_MAX
    step = Fraction(2) ** (shift - 31)
    assert abs(multiplier * step - Fraction(real)) <= step / 2


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, (0, 0)),
        (1.0, (1 << 30, 1)),
        (0.5, (1 << 30, 0)),
        (math.nextafter(1.0, 0.0), (1 << 30, 1)),
        (2.0**-32, (1 << 30, -31)),
        (math.nextafter(2.0**-32, 0.0), (1 << 30, -31)),
        (2.0**-32 * (1 - 2.0**-20), (0, 0)),
        (5e-324, (0, 0)),
        (-0.75, (-1610612736, 0)),
    ],
)
def test_multiplier_at_the_edges(real: float, expected: tuple[int, int]) -> None:
    assert quantize_multiplier(real) == expected


@given(st.integers(-(1 << 20), 1 << 20), st.integers(1 << 30, INT32_MAX), st.integers(-31, 10))
def test_multiplication_rounds_twice(x: int, multiplier: int, shift: int) -> None:
    left, right = max(shift, 0), max(-shift, 0)
    high = math.floor(Fraction(x * (1 << left) * multiplier, 1 << 31) + Fraction(1, 2))
    expected = nearest_away(Fraction(high, 1 << right))
    assert multiply_by_quantized_multiplier(x, multiplier, shift) == expected


def test_two_roundings_differ_from_one() -> None:
    multiplier, shift = (1 << 31) - 1, -1
    # 1 * (1 - 2^-31) is one after the first rounding, and one half is one after the second.
    assert multiply_by_quantized_multiplier(1, multiplier, shift) == 1


@given(st.integers(-(1 << 35), 1 << 35), st.integers(1 << 30, INT32_MAX), st.integers(-31, -5))
def test_wide_multiplication_rounds_once_upwards(x: int, multiplier: int, shift: int) -> None:
    short = int(reduced_multiplier(multiplier))
    assert 1 << 14 <= short <= 0x7FFF
    expected = math.floor(Fraction(x * short, 1 << (15 - shift)) + Fraction(1, 2))
    assert multiply_by_quantized_multiplier_wide(x, multiplier, shift) == expected


def test_reduced_multiplier_stays_in_15_bits() -> None:
    assert reduced_multiplier(INT32_MAX) == 0x7FFF
    assert reduced_multiplier(0x7FFEFFFF) == 0x7FFF
    assert reduced_multiplier((1 << 30) + (1 << 15)) == (1 << 14) + 1


def test_left_shift_wraps_like_an_int32() -> None:
    assert multiply_by_quantized_multiplier(1 << 30, 1 << 30, 3) == 0


def test_requantize_is_per_channel_and_clamps() -> None:
    acc = np.array([[100, 100], [-1000, 7]], dtype=np.int32)
    multipliers, shifts = [1 << 30, 1 << 30], [1, 0]
    result = requantize(acc, multipliers, shifts, 3, -128, 60)
    np.testing.assert_array_equal(result, [[60, 53], [-128, 7]])
    assert result.dtype == np.int32


@given(st.floats(-31.9, 0.0))
def test_exp_is_near_the_real_one(x: float) -> None:
    raw = round(x * (1 << 26))
    result = int(exp_on_negative_values(raw, 5)) / (1 << 31)
    assert result == pytest.approx(math.exp(raw / (1 << 26)), abs=3e-7)


def test_exp_of_zero_is_the_largest_fraction() -> None:
    assert exp_on_negative_values(0, 5) == INT32_MAX


@given(st.integers(1, INT32_MAX - 1))
def test_one_over_one_plus_x_is_near_the_real_one(raw: int) -> None:
    result = int(one_over_one_plus_x(raw)) / (1 << 31)
    assert result == pytest.approx(1.0 / (1.0 + raw / (1 << 31)), abs=6e-9)


@given(st.integers(1, INT32_MAX), st.integers(1, 31))
def test_reciprocal_is_near_the_real_one(raw: int, integer_bits: int) -> None:
    mantissa, right = get_reciprocal(raw, integer_bits)
    value = raw / 2.0 ** (31 - integer_bits)
    assert int(mantissa) / (1 << 31) / 2.0 ** int(right) == pytest.approx(1 / value, rel=1e-8)


@given(st.integers(0, (1 << 32) - 1))
def test_leading_zeros(x: int) -> None:
    assert count_leading_zeros(x) == 32 - x.bit_length()
