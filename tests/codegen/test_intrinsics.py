"""Every scalar intrinsic computes in C, on every kind of core, what its NumPy function computes.

``CASES`` has a row per intrinsic: the reference and the operands, extreme and random; an intrinsic
without a row is an error. Integers are equal to the bit, float functions within the bound that
``utvm/math.h`` states. Natively the same operands run under a checker for undefined behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.codegen.programs import Array, run_functions
from utvm.ir.dtype import DType
from utvm.ir.intrinsics import INTRINSICS
from utvm.ir.isa.table import FLOAT_INSTRUCTIONS
from utvm.ir.loop import Buffer, Call, Function, Load, Store, Var, loop
from utvm.ir.packed import MEANINGS
from utvm.op import fixed_point
from utvm.op.fixed_point import INT32_MAX, INT32_MIN
from utvm.op.quantize_arithmetic import ProductParams, div_reference

RANDOM = np.random.default_rng(20)
EXTREME = (INT32_MIN, INT32_MIN + 1, -(1 << 30), -65536, -3, -2, -1, 0, 1, 2, 3, 7, 65535, 1 << 30)
VALUES = (*EXTREME, (1 << 30) + 1, INT32_MAX - 1, INT32_MAX)
MULTIPLIERS = (0, 1 << 30, (1 << 30) + 1, 1518500250, 0x7FFEFFFF, 0x7FFF0000, INT32_MAX)
SHIFTS = tuple(range(32))
DIVIDENDS = (-65535, -32768, -255, -3, -1, 0, 1, 2, 7, 128, 65535)
FLOATS = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1.17549435e-38, 0.25, 0.49999997, 0.5, -0.5, 1.0, -1.0, 1.5, 2.5,
     -2.5, 8388607.5, -8388607.5, 16777216.0, 87.5, -87.5, 104.0, 3.4e38, -3.4e38, np.inf, -np.inf,
     np.nan], np.float32
)  # fmt: skip
ULP = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Case:
    """The reference on whole arrays, its operands, and the relative error allowed (floats)."""

    reference: Callable[..., Array]
    operands: tuple[Array, ...]
    tolerance: float = 0.0


def grid(*axes: tuple[int, ...], random: int = 500) -> tuple[Array, ...]:
    """All combinations, then as many random ones over the whole range of the first operand."""
    rows = np.array(list(product(*axes)), np.int64)
    picks = [RANDOM.choice(axis, random) for axis in axes]
    low, high = min(axes[0]), max(axes[0])
    picks[0] = RANDOM.integers(low, high, random, endpoint=True)
    table = np.concatenate([rows, np.stack(picks, 1)])
    return tuple(table[:, k] for k in range(len(axes)))


def _next_to_halves() -> list[tuple[int, float]]:
    """Accumulators and scales whose products lie next to halves: a last bit decides."""
    rows = []
    for size, half in product((3, 1000003, 77_777_777, INT32_MAX), (0.5, 6.5, 32766.5, 1e9 + 0.5)):
        scale = np.float64(half / size)
        for near in (np.nextafter(scale, 0), scale, np.nextafter(scale, 1)):
            rows += [(size, float(near)), (-size, float(near))]
    return rows


def doubles() -> tuple[Array, ...]:
    """Accumulators and the two words of scales from tiny to huge, halves among the products."""
    x = [*VALUES, 12345, -54321, 1 << 40, -(1 << 40)]
    scales = [0.5, 0.25, 1.0, 1.5, 2.0**-31, 0.0123, 3e-7, 7.25, 1e9]
    rows = [*product(x, scales), *_next_to_halves()]
    table = np.array(rows, np.float64)
    bits = table[:, 1].copy().view(np.int64)
    low = (bits & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    return table[:, 0].astype(np.int64), bits >> 32, low.astype(np.int64)


def requantize_double(x: Array, high: Array, low: Array) -> Array:
    scale = ((high << 32) | (low & 0xFFFFFFFF)).view(np.float64)
    steps = fixed_point.round_half_away(x.astype(np.float64) * scale)
    return np.clip(steps, INT32_MIN, INT32_MAX).astype(np.int32)


def divide(a: Array, b: Array) -> Array:
    whole = np.abs(a) // np.maximum(np.abs(b), 1) * np.sign(a) * np.sign(b)
    return fixed_point.wrap_int32(whole)


def divide_scaled(a: Array, b: Array, multiplier: Array, shift: Array) -> Array:
    """The reference kernel's DIV, with a factor per element."""
    params = ProductParams(0, 0, multiplier, shift, 0, INT32_MIN, INT32_MAX)
    return np.where(b == 0, 0, div_reference(a, np.where(b == 0, 1, b), params))


def ranges() -> tuple[Array, ...]:
    """Least and greatest values on either side of zero."""
    ends = [0.0, 1e-30, 0.1, 0.5, 1.0, 127.0, 128.0, 255.0, 3.7, 1e30, np.inf]
    table = np.array(list(product(ends, ends)), np.float32)
    return -table[:, 0], table[:, 1]


def dynamic_zero_point(low: Array, high: Array) -> Array:
    with np.errstate(all="ignore"):
        scale = (high - low).astype(np.float64) / 255
        below, above = low / scale, high / scale
        zero = np.where(128 - below < 127 + above, -128 - below, 127 - above)
    limited = np.clip(np.nan_to_num(zero, nan=-128), -128, 127)
    return np.where(high == low, 0, fixed_point.round_half_away(limited)).astype(np.int32)


def floats(random_scale: float) -> tuple[Array]:
    return (np.concatenate([FLOATS, RANDOM.normal(0, random_scale, 400).astype(np.float32)]),)


def real(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A function of doubles, rounded to float32."""

    def rounded(x: Array) -> Array:
        with np.errstate(all="ignore"):
            return function(x.astype(np.float64)).astype(np.float32)

    return rounded


def packed_case(name: str) -> Case:
    """An intrinsic on packed words: its meaning, word by word."""
    meaning, count = MEANINGS[name], len(INTRINSICS[name].args)

    def reference(*operands: Array) -> Array:
        rows = zip(*(operand.tolist() for operand in operands), strict=True)
        return np.array([meaning(*row) for row in rows], np.int64)

    words = (*VALUES, 0x7FFF8000, -0x7FFF8000, 0x80FF7F01 - (1 << 32))
    return Case(reference, grid(*((words,) * min(count, 2)), *((EXTREME,) * (count - 2))))


def fused() -> tuple[Array, ...]:
    """Triples with every special value, and near each other, where rounding once matters."""
    table = np.array(list(product(FLOATS[::2], FLOATS[1::2], FLOATS)), np.float32)
    near = RANDOM.normal(0, 1, (600, 3)).astype(np.float32)
    near[:, 2] = -near[:, 0] * near[:, 1]
    table = np.concatenate([table, near, near * np.float32([1, 1, 1e-6])])
    return table[:, 0], table[:, 1], table[:, 2]


def fma(a: Array, b: Array, acc: Array) -> Array:
    meaning = FLOAT_INSTRUCTIONS["fma"].meaning
    rows = zip(a.tolist(), b.tolist(), acc.tolist(), strict=True)
    return np.array([meaning(*row) for row in rows], np.float32)


CASES = {
    "fma": Case(fma, fused()),
    "requantize": Case(
        fixed_point.multiply_by_quantized_multiplier,
        grid(VALUES, MULTIPLIERS, tuple(range(-31, 31))),
    ),
    "requantize_right": Case(
        lambda x, m, s: fixed_point.multiply_by_quantized_multiplier(x, m, -s),
        grid(VALUES, MULTIPLIERS, SHIFTS[1:]),
    ),
    "requantize_wide": Case(
        fixed_point.multiply_by_quantized_multiplier_wide,
        grid((-(1 << 47) + 1, *VALUES, (1 << 47) - 1), MULTIPLIERS, tuple(range(-31, 15))),
    ),
    "requantize_double": Case(requantize_double, doubles()),
    "mulhi": Case(lambda a, b: (a * b >> 32).astype(np.int32), grid(VALUES, VALUES)),
    "mulhi_long": Case(
        lambda x, high, low: (x * high + (x * low >> 32)) >> 32,
        grid(VALUES, MULTIPLIERS, VALUES),
    ),
    "mulhi_rounding": Case(fixed_point.saturating_rounding_doubling_high_mul, grid(VALUES, VALUES)),
    "shift_right_rounding": Case(fixed_point.rounding_divide_by_pot, grid(VALUES, SHIFTS)),
    "shift_left_saturating": Case(
        lambda x, n: fixed_point.saturate(x << n, INT32_MIN, INT32_MAX), grid(VALUES, SHIFTS)
    ),
    "shift_left_wrapping": Case(lambda x, n: fixed_point.wrap_int32(x << n), grid(VALUES, SHIFTS)),
    "clz": Case(fixed_point.count_leading_zeros, grid(VALUES)),
    "one_over_one_plus": Case(
        fixed_point.one_over_one_plus_x, grid((0, 1, 2, 1 << 20, 1 << 30, INT32_MAX))
    ),
    "divide": Case(divide, grid(VALUES, VALUES)),
    "divide_scaled": Case(
        divide_scaled, grid(DIVIDENDS, DIVIDENDS, MULTIPLIERS, (-31, -17, -8, -1, 0, 1, 9, 30))
    ),
    "dynamic_zero_point": Case(dynamic_zero_point, ranges()),
    "exp": Case(real(np.exp), floats(30.0), 2 * ULP),
    "log": Case(real(np.log), floats(30.0), 2 * ULP),
    "tanh": Case(real(np.tanh), floats(3.0), 2 * ULP),
    "logistic": Case(real(lambda x: 1 / (1 + np.exp(-x))), floats(20.0), 4 * ULP),
    "sqrt": Case(real(np.sqrt), floats(30.0)),
    "floor": Case(real(np.floor), floats(30.0)),
    "round": Case(real(fixed_point.round_half_away), floats(30.0)),
    "round_even": Case(real(np.rint), floats(30.0)),
    "abs": Case(np.abs, floats(30.0)),
    **{name: packed_case(name) for name in MEANINGS},
}


def kernel(name: str, size: int) -> Function:
    """One function that applies an intrinsic element by element."""
    intrinsic = INTRINSICS[name]
    inputs = tuple(Buffer(f"in{k}", t, (size,), "input") for k, t in enumerate(intrinsic.args))
    output = Buffer("out0", intrinsic.result, (size,), "output")
    i = Var("i")
    value = Call(name, tuple(Load(buffer, (i,)) for buffer in inputs), intrinsic.result)
    return Function(f"{name}_0", inputs, (output,), (loop(i, size, Store(output, (i,), value)),))


def test_every_intrinsic_is_tested() -> None:
    assert set(CASES) == set(INTRINSICS)


def run_all(folder: Path, target: str, toolchain: str, sanitize: bool) -> None:
    functions = [kernel(name, case.operands[0].size) for name, case in CASES.items()]
    operands = [case.operands for case in CASES.values()]
    results = run_functions(functions, operands, folder, target, toolchain, sanitize=sanitize)
    for (name, case), (got,) in zip(CASES.items(), results, strict=True):
        wanted = np.asarray(case.reference(*case.operands)).astype(got.dtype)
        if INTRINSICS[name].result is DType.FLOAT32:
            tiny = float(np.finfo(np.float32).smallest_subnormal)
            np.testing.assert_allclose(
                got, wanted, rtol=case.tolerance, atol=tiny if case.tolerance else 0.0, err_msg=name
            )
        else:
            np.testing.assert_array_equal(got, wanted, err_msg=name)


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("target", ["host", "cortex-m4", "cortex-m0plus"])
def test_c_equals_numpy(tmp_path: Path, target: str, toolchain: str) -> None:
    run_all(tmp_path, target, toolchain, sanitize=False)


def test_no_undefined_behaviour(tmp_path: Path) -> None:
    run_all(tmp_path, "host", "", sanitize=True)
