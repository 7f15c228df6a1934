"""QUANTIZE, DEQUANTIZE and uint8 CONCATENATION: equal to LiteRT's reference kernels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.op.quantized_models import DTYPES, Array, all_values, random_quant, run_op
from utvm.ir.dtype import DType
from utvm.op.quantize_convert import (
    concat_input_table,
    dequantize_reference,
    quantize_reference,
    requantize_params,
    requantize_reference,
)
from utvm.op.quantize_params import Quant
from utvm.support.errors import UnsupportedError

MODELS = 15
PAIRS = [
    (DType.INT8, DType.INT8),
    (DType.INT8, DType.UINT8),
    (DType.INT8, DType.INT16),
    (DType.UINT8, DType.INT8),
    (DType.UINT8, DType.UINT8),
    (DType.UINT8, DType.INT16),
    (DType.INT16, DType.INT8),
    (DType.INT16, DType.INT16),
    (DType.INT16, DType.INT32),
    (DType.INT32, DType.INT8),
    (DType.INT32, DType.INT16),
]


def wide_quant(rng: np.random.Generator) -> Quant:
    scale = float(np.float32(2.0 ** rng.uniform(-20, -6)))
    return Quant(scale, int(rng.integers(-1000, 1000)), DType.INT32)


@pytest.mark.parametrize(("dtype", "out_dtype"), PAIRS, ids=lambda d: d.value)
def test_requantization_equals_litert(dtype: DType, out_dtype: DType) -> None:
    rng = np.random.default_rng(41)
    for nth in range(MODELS):
        x = wide_quant(rng) if dtype is DType.INT32 else random_quant(rng, dtype)
        out = wide_quant(rng) if out_dtype is DType.INT32 else random_quant(rng, out_dtype)
        if nth % 4 == 0:
            out = Quant(x.scale, out.zero_point, out.dtype)
        data: Array = rng.integers(-(1 << 22), 1 << 22, (1, 900)).astype(np.int32)
        if dtype is not DType.INT32:
            data = all_values(dtype)
        expected = run_op("QUANTIZE", [(x, data)], out, data.shape)
        result = requantize_reference(data, requantize_params(x, out))
        np.testing.assert_array_equal(result, expected, f"{x} {out}")


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.value)
def test_quantize_equals_litert(dtype: DType) -> None:
    rng = np.random.default_rng(42)
    for _ in range(MODELS):
        out = random_quant(rng, dtype, -10, 5)
        spread = (rng.normal(size=1000) * out.scale * (dtype.maximum + 1)).astype(np.float32)
        # Half steps, where the direction of rounding shows.
        halves = ((np.arange(-200, 200) + 0.5) * out.scale).astype(np.float32)
        data = np.concatenate([spread, halves])
        expected = run_op("QUANTIZE", [(None, data)], out, data.shape)
        np.testing.assert_array_equal(quantize_reference(data, out), expected, f"{out}")


def test_quantize_saturates_what_c_leaves_undefined() -> None:
    out = Quant(0.5, 3, DType.INT8)
    data = np.array([math.inf, -math.inf, 3e38, -3e38, math.nan], dtype=np.float32)
    np.testing.assert_array_equal(quantize_reference(data, out), [127, -128, 127, -128, 3])


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.value)
def test_dequantize_equals_litert(dtype: DType) -> None:
    rng = np.random.default_rng(43)
    for _ in range(MODELS):
        x = random_quant(rng, dtype, -10, 5)
        data = all_values(dtype)
        expected = run_op("DEQUANTIZE", [(x, data)], None, data.shape)
        np.testing.assert_array_equal(dequantize_reference(data, x), expected, f"{x}")


def test_concatenation_equals_litert() -> None:
    rng = np.random.default_rng(44)
    data = all_values(DType.UINT8)
    for _ in range(MODELS):
        a, b, out = (random_quant(rng, DType.UINT8) for _ in range(3))
        inputs = [(a, data), (b, data), (out, data)]
        expected = run_op("CONCATENATION", inputs, out, (1, 768), axis=1)
        result = np.concatenate([concat_input_table(q, out) for q, _ in inputs])
        np.testing.assert_array_equal(result, expected[0], f"{a} {b} {out}")


def test_types_that_litert_refuses_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="found int32/uint8"):
        requantize_params(Quant(1.0, 0, DType.INT32), Quant(1.0, 0, DType.UINT8))
