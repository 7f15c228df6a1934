"""ADD, SUB, MUL and DIV: equal to LiteRT's reference kernels on random scales and data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.op.quantized_models import (
    ACTIVATION_NAMES,
    ACTIVATIONS,
    DTYPES,
    Array,
    random_data,
    random_quant,
    run_op,
)
from utvm.ir.dtype import DType
from utvm.op.fixed_point import Int32Array
from utvm.op.quantize_arithmetic import (
    add_reference,
    div_params,
    div_reference,
    mul_params,
    mul_reference,
    pot_add_reference,
    pot_sub_reference,
    pot_sum_params,
    sub_reference,
    sum_params,
)
from utvm.op.quantize_params import Activation, Quant
from utvm.support.errors import ModelError, UnsupportedError

MODELS = 25
Reference = Callable[[Array, Array, Quant, Quant, Quant, Activation], Int32Array]

REFERENCES: dict[str, Reference] = {
    "ADD": lambda x, y, a, b, out, f: add_reference(x, y, sum_params("ADD", a, b, out, f)),
    "SUB": lambda x, y, a, b, out, f: sub_reference(x, y, sum_params("SUB", a, b, out, f)),
    "MUL": lambda x, y, a, b, out, f: mul_reference(x, y, mul_params(a, b, out, f)),
    "DIV": lambda x, y, a, b, out, f: div_reference(x, y, div_params(a, b, out, f)),
}


def options(kind: str, activation: Activation, *, pot: bool = False) -> dict[str, object]:
    result: dict[str, object] = {"fused_activation_function": ACTIVATION_NAMES[activation]}
    if kind in ("ADD", "SUB"):
        result["pot_scale_int16"] = pot
    return result


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.value)
@pytest.mark.parametrize("kind", REFERENCES)
def test_equals_litert(kind: str, dtype: DType) -> None:
    rng = np.random.default_rng(11)
    for nth in range(MODELS):
        a, b = random_quant(rng, dtype), random_quant(rng, dtype)
        out = random_quant(rng, dtype, -4, 4)
        x, y = random_data(rng, dtype, (1, 4, 5, 16)), random_data(rng, dtype, (1, 4, 5, 16))
        if nth % 3 == 0:
            y = y[:, :1, :, :1]  # a broadcast
        if kind == "DIV":
            away = b.zero_point + (1 if b.zero_point < 0 else -1)
            y = np.where(y == b.zero_point, away, y).astype(y.dtype)
        activation = ACTIVATIONS[nth % 4]
        expected = run_op(kind, [(a, x), (b, y)], out, x.shape, **options(kind, activation))
        result = REFERENCES[kind](x, y, a, b, out, activation)
        np.testing.assert_array_equal(result, expected, f"{a} {b} {out} {activation}")


@pytest.mark.parametrize("kind", ["MUL", "DIV"])
def test_equals_litert_on_extreme_scales(kind: str) -> None:
    rng = np.random.default_rng(12)
    compared = 0
    for _ in range(MODELS):
        a, b, out = (random_quant(rng, DType.INT8, -24, 12) for _ in range(3))
        x, y = random_data(rng, DType.INT8, (320,)), random_data(rng, DType.INT8, (320,))
        away = b.zero_point + (1 if b.zero_point < 0 else -1)
        y = np.where(y == b.zero_point, away, y).astype(y.dtype)
        try:
            result = REFERENCES[kind](x, y, a, b, out, Activation.NONE)
        except UnsupportedError:
            continue
        expected = run_op(kind, [(a, x), (b, y)], out, x.shape)
        np.testing.assert_array_equal(result, expected, f"{a} {b} {out}")
        compared += 1
    assert compared > MODELS // 2


@pytest.mark.parametrize("kind", ["ADD", "SUB"])
def test_power_of_two_int16_equals_litert(kind: str) -> None:
    rng = np.random.default_rng(13)
    reference = pot_add_reference if kind == "ADD" else pot_sub_reference
    for nth in range(MODELS):
        shift = int(rng.integers(0, 8))
        logs = (-8 - shift, -8) if nth % 2 else (-8, -8 - shift)
        a, b = (Quant(2.0**log, 0, DType.INT16) for log in logs)
        out = Quant(2.0**-8, 0, DType.INT16)
        x, y = random_data(rng, DType.INT16, (320,)), random_data(rng, DType.INT16, (320,))
        p = pot_sum_params(kind, a, b, out, Activation.NONE)
        assert p is not None
        expected = run_op(
            kind, [(a, x), (b, y)], out, x.shape, **options(kind, Activation.NONE, pot=True)
        )
        np.testing.assert_array_equal(reference(x, y, p), expected)


def test_other_int16_scales_take_the_general_road() -> None:
    one, other = Quant(2.0**-8, 0, DType.INT16), Quant(0.003, 0, DType.INT16)
    assert pot_sum_params("ADD", one, other, one, Activation.NONE) is None


def test_power_of_two_scales_that_need_two_shifts_are_refused() -> None:
    fine, coarse = Quant(2.0**-9, 0, DType.INT16), Quant(2.0**-8, 0, DType.INT16)
    with pytest.raises(UnsupportedError, match="found 2\\^-9, 2\\^-9 and 2\\^-8"):
        pot_sum_params("ADD", fine, fine, coarse, Activation.NONE)


def test_addition_to_a_far_finer_scale_is_refused() -> None:
    coarse, fine = Quant(1.0, 0, DType.INT8), Quant(1e-7, 0, DType.INT8)
    with pytest.raises(UnsupportedError, match="the output scale of ADD is too fine"):
        sum_params("ADD", coarse, coarse, fine, Activation.NONE)


def test_mixed_types_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="MUL does not take these types"):
        mul_params(
            Quant(1.0, 0, DType.INT8),
            Quant(1.0, 0, DType.UINT8),
            Quant(1.0, 0, DType.INT8),
            Activation.NONE,
        )


def test_int16_with_a_zero_point_is_refused() -> None:
    zero, three = Quant(1.0, 0, DType.INT16), Quant(1.0, 3, DType.INT16)
    with pytest.raises(ModelError, match="symmetric"):
        mul_params(zero, three, zero, Activation.NONE)
