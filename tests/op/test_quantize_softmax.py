"""SOFTMAX: equal to LiteRT's reference kernels for every pair of types they take."""

from __future__ import annotations

import numpy as np
import pytest

from tests.op.quantized_models import random_data, random_quant, run_op
from utvm.ir.dtype import DType
from utvm.op.quantize_params import Quant
from utvm.op.quantize_softmax import (
    softmax16_params,
    softmax16_reference,
    softmax_exp_table,
    softmax_params,
    softmax_reference,
)
from utvm.support.errors import UnsupportedError

MODELS = 25
OUTPUT = {
    DType.INT8: Quant(1.0 / 256, -128, DType.INT8),
    DType.UINT8: Quant(1.0 / 256, 0, DType.UINT8),
    DType.INT16: Quant(1.0 / 32768, 0, DType.INT16),
}
PAIRS = [
    (DType.INT8, DType.INT8),
    (DType.INT8, DType.INT16),
    (DType.UINT8, DType.UINT8),
    (DType.UINT8, DType.INT16),
]


@pytest.mark.parametrize(("dtype", "out_dtype"), PAIRS, ids=lambda d: d.value)
def test_equals_litert(dtype: DType, out_dtype: DType) -> None:
    rng = np.random.default_rng(31)
    out = OUTPUT[out_dtype]
    for nth in range(MODELS):
        x = random_quant(rng, dtype, -12, 5)
        beta = 1.0 if nth % 2 else float(np.float32(rng.uniform(0.1, 4)))
        data = random_data(rng, dtype, (5, int(rng.integers(1, 50))))
        data[1] = data[1, 0]  # a row of equal values
        expected = run_op("SOFTMAX", [(x, data)], out, data.shape, beta=beta)
        result = softmax_reference(data, softmax_params(x, out, beta))
        np.testing.assert_array_equal(result, expected, f"{x} {beta}")


def test_int16_equals_litert() -> None:
    rng = np.random.default_rng(32)
    out = OUTPUT[DType.INT16]
    for nth in range(MODELS):
        x = random_quant(rng, DType.INT16, -17, -4)
        beta = 1.0 if nth % 2 else float(np.float32(rng.uniform(0.1, 4)))
        data = random_data(rng, DType.INT16, (5, int(rng.integers(1, 50))))
        data[1] = data[1, 0]
        expected = run_op("SOFTMAX", [(x, data)], out, data.shape, beta=beta)
        result = softmax16_reference(data, softmax16_params(x, out, beta))
        np.testing.assert_array_equal(result, expected, f"{x} {beta}")


def test_exp_table_falls_to_zero() -> None:
    p = softmax_params(Quant(0.25, 0, DType.INT8), OUTPUT[DType.INT8], 1.0)
    table = softmax_exp_table(p)
    assert table.shape == (256,)
    assert table[0] == (1 << 31) - 1
    assert np.all(np.diff(table.astype(np.int64)) <= 0)
    assert p.diff_min == -62
    assert table[62] > 0
    assert table[63] == 0


def test_output_quantization_is_fixed() -> None:
    x = Quant(0.1, 0, DType.INT8)
    with pytest.raises(UnsupportedError, match="fixed output quantization"):
        softmax_params(x, Quant(1.0 / 256, 0, DType.INT8), 1.0)


def test_too_fine_an_input_is_refused() -> None:
    x = Quant(1e-9, 0, DType.INT8)
    with pytest.raises(UnsupportedError, match="too fine an input scale or beta"):
        softmax_params(x, OUTPUT[DType.INT8], 1.0)
