"""Pooling and reductions: equal to LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.op.quantized_models import (
    ACTIVATION_NAMES,
    ACTIVATIONS,
    DTYPES,
    random_data,
    random_quant,
    run_op,
)
from utvm.ir.dtype import DType
from utvm.op.quantize_params import Quant, activation_range
from utvm.op.quantize_reduce import (
    Window,
    average_pool_reference,
    average_rounded,
    max_pool_reference,
    mean_params,
    mean_reference,
    sum_reduce_params,
)

MODELS = 25


def random_window(rng: np.random.Generator, size: tuple[int, int], same: bool) -> Window:
    """A window over ``size``; with SAME padding it may be larger than the input."""
    filters, strides, padding, output = [], [], [], []
    for length in size:
        taps, stride = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        taps = taps if same else min(taps, length)
        count = -(-length // stride) if same else (length - taps) // stride + 1
        padding.append(max(0, (count - 1) * stride + taps - length) // 2 if same else 0)
        filters.append(taps)
        strides.append(stride)
        output.append(count)
    return Window(
        (filters[0], filters[1]),
        (strides[0], strides[1]),
        (padding[0], padding[1]),
        (output[0], output[1]),
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.value)
@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pooling_equals_litert(kind: str, dtype: DType) -> None:
    rng = np.random.default_rng(61)
    reference = average_pool_reference if kind == "AVERAGE_POOL_2D" else max_pool_reference
    for nth in range(MODELS):
        size = (int(rng.integers(1, 9)), int(rng.integers(1, 9)))
        window = random_window(rng, size, same := bool(nth % 2))
        quant, activation = random_quant(rng, dtype), ACTIVATIONS[nth % 4]
        data = random_data(rng, dtype, (2, *size, 3))
        result = reference(data, window, *activation_range(activation, quant))
        expected = run_op(
            kind,
            [(quant, data)],
            quant,
            result.shape,
            padding="SAME" if same else "VALID",
            filter_height=window.filter[0],
            filter_width=window.filter[1],
            stride_h=window.strides[0],
            stride_w=window.strides[1],
            fused_activation_function=ACTIVATION_NAMES[activation],
        )
        np.testing.assert_array_equal(result, expected, f"{window} {quant}")


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.value)
def test_mean_equals_litert(dtype: DType) -> None:
    rng = np.random.default_rng(62)
    for _ in range(MODELS):
        x, out = random_quant(rng, dtype), random_quant(rng, dtype)
        data = random_data(rng, dtype, rng.integers(1, 9, 4))
        axes = tuple(sorted(rng.choice(4, int(rng.integers(1, 5)), replace=False).tolist()))
        count = int(np.prod([data.shape[axis] for axis in axes]))
        result = mean_reference(data, axes, mean_params(x, out, count))
        expected = run_op(
            "MEAN",
            [(x, data)],
            out,
            result.shape,
            constants=[np.array(axes, np.int32)],
            keep_dims=True,
        )
        np.testing.assert_array_equal(result, expected, f"{x} {out} {data.shape} {axes}")


def test_sum_of_uint8_equals_litert() -> None:
    rng = np.random.default_rng(63)
    for _ in range(MODELS):
        x, out = random_quant(rng, DType.UINT8), random_quant(rng, DType.UINT8, -3, 6)
        data = random_data(rng, DType.UINT8, rng.integers(1, 9, 4))
        result = mean_reference(data, (1, 2), sum_reduce_params(x, out, data[0, ..., 0].size))
        expected = run_op(
            "SUM",
            [(x, data)],
            out,
            result.shape,
            constants=[np.array([1, 2], np.int32)],
            keep_dims=True,
        )
        np.testing.assert_array_equal(result, expected, f"{x} {out} {data.shape}")


def test_sum_of_int8_is_the_sum() -> None:
    x, out = Quant(0.5, -10, DType.INT8), Quant(1.0, 5, DType.INT8)
    data = np.array([[-10, 10, 30, -128]], dtype=np.int8)
    p = sum_reduce_params(x, out, 4)
    np.testing.assert_array_equal(mean_reference(data, (1,), p), [[-24]])


def test_averages_round_halves_away() -> None:
    np.testing.assert_array_equal(
        average_rounded([-3, -1, 0, 1, 3, -4, 4], [2, 2, 2, 2, 2, 3, 3]), [-2, -1, 0, 1, 2, -1, 1]
    )
