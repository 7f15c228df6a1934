"""Activations on every value of the type: equal to LiteRT's reference kernels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.op.quantized_models import DTYPES, Array, all_values, random_quant, run_op
from utvm.ir.dtype import DType
from utvm.op.quantize_activation import (
    float_table,
    hard_swish_params,
    hard_swish_reference,
    leaky_relu_params,
    leaky_relu_reference,
    logistic16_params,
    logistic16_reference,
    logistic_table,
    relu_params,
    relu_reference,
    table_of,
    tanh16_params,
    tanh16_reference,
    tanh_table,
)
from utvm.op.quantize_params import Quant
from utvm.support.errors import UnsupportedError

MODELS = 20
INT8S = [DType.INT8, DType.UINT8]
RELUS = {
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU_0_TO_1": (0.0, 1.0),
}


def litert(kind: str, x: Quant, out: Quant, **options: object) -> Array:
    data = all_values(x.dtype)
    return run_op(kind, [(x, data)], out, data.shape, **options)[0]


@pytest.mark.parametrize("dtype", INT8S, ids=lambda d: d.value)
def test_logistic_table_equals_litert(dtype: DType) -> None:
    rng = np.random.default_rng(21)
    for _ in range(MODELS):
        x = random_quant(rng, dtype, -10, 3)
        out = Quant(1.0 / 256, random_quant(rng, dtype).zero_point, dtype)
        np.testing.assert_array_equal(logistic_table(x, out), litert("LOGISTIC", x, out), f"{x}")


@pytest.mark.parametrize("dtype", INT8S, ids=lambda d: d.value)
def test_tanh_table_equals_litert(dtype: DType) -> None:
    rng = np.random.default_rng(22)
    for _ in range(MODELS):
        x, out = random_quant(rng, dtype, -10, 3), random_quant(rng, dtype, -10, -3)
        np.testing.assert_array_equal(tanh_table(x, out), litert("TANH", x, out), f"{x} {out}")


@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH"])
def test_int16_sigmoids_equal_litert(kind: str) -> None:
    rng = np.random.default_rng(23)
    out = Quant(2.0**-15, 0, DType.INT16)
    data = all_values(DType.INT16)[0]
    # These four are the powers of two around the ones that have their own rule.
    scales = [2.0**-12, 2.0**-11, 2.0**-10, 2.0**-13]
    scales += [random_quant(rng, DType.INT16, -16, 2).scale for _ in range(MODELS)]
    for scale in scales:
        x = Quant(scale, 0, DType.INT16)
        if kind == "LOGISTIC":
            result = logistic16_reference(data, logistic16_params(x, out))
        else:
            result = tanh16_reference(data, tanh16_params(x, out))
        np.testing.assert_array_equal(result, litert(kind, x, out), f"{x}")


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.value)
@pytest.mark.parametrize("kind", RELUS)
def test_relus_equal_litert(kind: str, dtype: DType) -> None:
    rng = np.random.default_rng(24)
    low, high = RELUS[kind]
    if dtype is DType.INT16 and high == 1.0:
        quant = Quant(0.1, 0, dtype)
        with pytest.raises(UnsupportedError, match="do not take int16"):
            relu_params(quant, quant, low, high)
        return
    for _ in range(MODELS):
        x, out = random_quant(rng, dtype), random_quant(rng, dtype)
        result = relu_reference(all_values(dtype)[0], relu_params(x, out, low, high))
        np.testing.assert_array_equal(result, litert(kind, x, out), f"{x} {out}")


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.value)
def test_leaky_relu_equals_litert(dtype: DType) -> None:
    rng = np.random.default_rng(25)
    for nth in range(MODELS):
        x, out = random_quant(rng, dtype), random_quant(rng, dtype)
        alpha = [0.0, -0.3, 1.0][nth] if nth < 3 else float(np.float32(rng.uniform(-1, 2)))
        result = leaky_relu_reference(all_values(dtype)[0], leaky_relu_params(x, out, alpha))
        expected = litert("LEAKY_RELU", x, out, alpha=alpha)
        np.testing.assert_array_equal(result, expected, f"{x} {out} {alpha}")


@pytest.mark.parametrize("dtype", INT8S, ids=lambda d: d.value)
def test_hard_swish_equals_litert(dtype: DType) -> None:
    rng = np.random.default_rng(26)
    compared = 0
    for nth in range(2 * MODELS):
        x = random_quant(rng, dtype, -9, 3)
        # Far coarser outputs reach the shifts where the kernel's mask overflows.
        out = random_quant(rng, dtype, -8, 14 if nth % 4 == 0 else 4)
        try:
            p = hard_swish_params(x, out)
        except UnsupportedError:
            continue
        result = table_of(lambda values, p=p: hard_swish_reference(values, p), dtype)
        np.testing.assert_array_equal(result, litert("HARD_SWISH", x, out), f"{x} {out}")
        compared += 1
    assert compared > MODELS


def test_table_is_in_order_of_value() -> None:
    np.testing.assert_array_equal(table_of(lambda v: v + 1, DType.INT8), np.arange(-127, 129))
    np.testing.assert_array_equal(table_of(lambda v: v, DType.UINT8), np.arange(256))


def test_float_table_saturates() -> None:
    x, out = Quant(1.0, 0, DType.INT8), Quant(0.5, 0, DType.INT8)
    table = float_table(lambda v: v, x, out)
    assert (table[0], table[128], table[138], table[255]) == (-128, 0, 20, 127)


def test_logistic_wants_its_output_scale() -> None:
    x = Quant(0.1, 0, DType.INT8)
    with pytest.raises(UnsupportedError, match="LOGISTIC has a fixed output scale; expected 1/256"):
        logistic_table(x, Quant(1.0 / 128, 0, DType.INT8))


def test_int16_tanh_wants_its_output_scale() -> None:
    x = Quant(0.001, 0, DType.INT16)
    with pytest.raises(UnsupportedError, match="TANH on int16 has a fixed output scale"):
        tanh16_params(x, x)


def test_hard_swish_refuses_a_far_finer_output() -> None:
    with pytest.raises(UnsupportedError, match="the output scale of HARD_SWISH is too fine"):
        hard_swish_params(Quant(1.0, 0, DType.INT8), Quant(0.001, 0, DType.INT8))
