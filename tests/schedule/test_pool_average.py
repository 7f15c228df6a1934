"""Divisions of a pool as a multiply-accumulate: exact for every sum, or not found."""

from __future__ import annotations

import numpy as np
import pytest

from utvm.ir.dtype import DType
from utvm.ir.loop import Binary, Call, Cast, Expr, Imm, Select, clamp
from utvm.schedule.pool_average import SUM, linear_average, values_of


def half_away(count: int, dtype: DType = DType.INT8) -> Expr:
    half = Select(Binary("<", SUM, Imm(0)), Imm(-(count // 2)), Imm(count // 2))
    return Cast(dtype, Binary("/", SUM + half, Imm(count)))


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8])
@pytest.mark.parametrize("count", [2, 3, 4, 6, 9, 15, 16, 25, 49, 64, 100])
def test_average_is_exact_for_every_sum(count: int, dtype: DType) -> None:
    least, most = count * int(dtype.minimum), count * int(dtype.maximum)
    found = linear_average(half_away(count, dtype), count, least, most)
    assert found is not None
    sums = np.arange(least, most + 1)
    rounded = np.sign(sums) * ((np.abs(sums) + count // 2) // count)
    steps = (sums * found.factor + found.addend) >> found.shift
    np.testing.assert_array_equal(np.clip(steps, found.low, found.high), rounded)
    assert abs(int(most) * found.factor + found.addend) < 1 << 31


def test_clamps_are_the_bounds() -> None:
    value = Cast(DType.INT8, clamp(Cast(DType.INT32, half_away(9)), -20, 100))
    found = linear_average(value, 9, -128 * 9, 127 * 9)
    assert found is not None and (found.low, found.high) == (-20, 100)


@pytest.mark.parametrize(
    ("value", "count", "most"),
    [
        (Cast(DType.INT8, Binary("/", SUM, Imm(4))), 4, 127 * 4),  # truncates on both sides of zero
        (half_away(400), 400, 127 * 400),  # sums beyond a halfword
        (Call("clz", (SUM,), DType.INT32), 4, 127 * 4),
        (Cast(DType.INT8, Binary("-", Imm(0), SUM)), 1, 127),  # falls
    ],
)
def test_others_are_not_found(value: Expr, count: int, most: int) -> None:
    assert linear_average(value, count, -most, most) is None


def test_division_by_zero_has_no_value() -> None:
    assert values_of(Binary("/", Imm(1), SUM), np.arange(-1, 2)) is None
