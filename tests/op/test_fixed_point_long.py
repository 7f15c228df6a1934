"""The long form of a rescale by a double: equal on every accumulator of a range, or refused.

Small ranges are compared exhaustively; wide ones around every step, at halves and at random. The
search for products next to halves is compared with looking at all of them.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from utvm.ir.dtype import DType
from utvm.op.fixed_point import Int64Array, round_half_away
from utvm.op.fixed_point_long import LongForm, first_between, long_form, near_halves
from utvm.op.registry import find_op
from utvm.op.requantize_long import RequantizeLongAttrs

LOW, HIGH = DType.INT16.minimum, DType.INT16.maximum


def form_of(scale: float, limit: int) -> LongForm | None:
    return long_form((scale,), (np.array([-limit]), np.array([limit])), LOW, HIGH)


def found_results(form: LongForm, x: Int64Array) -> Int64Array:
    attrs = RequantizeLongAttrs("int16", LOW, HIGH, form.left, form.shift)
    words = (np.array(form.highs, np.int32), np.array(form.lows, np.int32))
    op = find_op("requantize_long")
    return op.reference((x.astype(np.int32), *words), attrs)[0].astype(np.int64)


def wanted_results(x: Int64Array, scale: float) -> Int64Array:
    return np.clip(round_half_away(x.astype(np.float64) * scale), LOW, HIGH).astype(np.int64)


@pytest.mark.parametrize("seed", range(12))
def test_every_step_is_where_the_double_has_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limit = int(2.0 ** rng.uniform(17, 31)) - 1
    scale = float(2.0 ** rng.uniform(14, 17) / limit)
    form = form_of(scale, limit)
    assert form is not None
    steps = ((np.arange(LOW - 2, HIGH + 3) + 0.5) / scale).astype(np.int64)
    near = np.concatenate([steps + offset for offset in range(-2, 3)])
    spread = rng.integers(-limit, limit + 1, 20000)
    x = np.clip(np.concatenate([near, spread, [-limit, 0, limit]]), -limit, limit)
    np.testing.assert_array_equal(found_results(form, x), wanted_results(x, scale))


@pytest.mark.parametrize("scale", [0.25, 3 / 16, 0.5, 1.0, 2.0, 5 / 1024, 1 / 3, 0.3000000001])
def test_all_accumulators_of_a_small_range(scale: float) -> None:
    """Scales of few bits have halves among their products."""
    x = np.arange(-40000, 40001)
    form = form_of(scale, 40000)
    assert form is not None
    np.testing.assert_array_equal(found_results(form, x), wanted_results(x, scale))


def test_products_that_doubles_round_to_a_half() -> None:
    """A product less than half a last place below a half counts as one: multipliers are larger for
    its sake, and the form is found all the same."""
    pushed = 0
    for size in range(100_000_001, 100_000_401, 4):
        scale = 30000.5 / size
        x = np.array([size, -size])
        below = Fraction(scale) * size < Fraction(60001, 2)
        rounded = float(size) * scale == 30000.5
        form = form_of(scale, size)
        assert form is not None
        np.testing.assert_array_equal(found_results(form, x), wanted_results(x, scale))
        pushed += below and rounded
    assert pushed > 5


@pytest.mark.parametrize(("zero", "low", "high"), [(-128, -128, 127), (127, -128, 100), (5, 5, 90)])
@pytest.mark.parametrize("scale", [0.0061234, 0.0213])
def test_zero_points_of_bytes(zero: int, low: int, high: int, scale: float) -> None:
    limit = 1 << 20
    form = long_form((scale,), (np.array([-limit]), np.array([limit])), low, high, zero)
    assert form is not None
    attrs = RequantizeLongAttrs("int8", low, high, form.left, form.shift, zero)
    words = (np.array(form.highs, np.int32), np.array(form.lows, np.int32))
    x = np.arange(-60000, 60000)
    (found,) = find_op("requantize_long").reference((x.astype(np.int32), *words), attrs)
    wanted = np.clip(round_half_away(x * scale) + zero, low, high)
    np.testing.assert_array_equal(found, wanted)


def test_channels_share_the_shifts() -> None:
    scales = (0.00100317, 0.00020171, 0.00070519)
    limits = np.array([1 << 24, 1 << 25, 1 << 20])
    form = long_form(scales, (-limits, limits), LOW, HIGH)
    assert form is not None
    rng = np.random.default_rng(1)
    x = rng.integers(-(1 << 20), 1 << 20, (5000, 3))
    wanted = np.stack([wanted_results(x[:, c], s) for c, s in enumerate(scales)], axis=1)
    np.testing.assert_array_equal(found_results(form, x), wanted)


@pytest.mark.parametrize(
    ("scale", "limit"),
    [
        (0.1, 1 << 24),  # every tenth product is next to a half
        (4.0, (1 << 31) - 1),  # no room for the shift
        (0.01, 1 << 31),  # wider than 32 bits
        (float("inf"), 1000),
        (2.0**-70, 1000),
    ],
)
def test_refused(scale: float, limit: int) -> None:
    assert form_of(scale, limit) is None


@pytest.mark.parametrize("seed", range(6))
def test_near_halves_are_all_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        scale = Fraction(int(rng.integers(1, 3000)), 1 << int(rng.integers(0, 12)))
        error = Fraction(int(rng.integers(0, 50)), 4096)
        least = int(rng.integers(-3000, 100))
        most = least + int(rng.integers(0, 3000))
        half = Fraction(1, 2)
        wanted = [x for x in range(least, most + 1) if abs(x * scale % 1 - half) <= error]
        assert list(near_halves(scale, error, least, most)) == wanted


def test_first_between_is_the_first() -> None:
    rng = np.random.default_rng(7)
    for _ in range(500):
        modulus = int(rng.integers(1, 400))
        factor = int(rng.integers(0, modulus))
        low = int(rng.integers(0, modulus))
        high = int(rng.integers(low, modulus))
        all_of = (x for x in range(modulus) if low <= x * factor % modulus <= high)
        assert first_between(factor, modulus, low, high) == next(all_of, None)
