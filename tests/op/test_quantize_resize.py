"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR: equal to LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.op.quantized_models import Array, random_data, run_op
from utvm.ir.dtype import DType
from utvm.op.quantize_params import Quant
from utvm.op.quantize_resize import (
    ResizeOptions,
    resize_bilinear_float_reference,
    resize_bilinear_integer_reference,
    resize_nearest_reference,
)

MODELS = 30
OPTIONS = [ResizeOptions(), ResizeOptions(align_corners=True), ResizeOptions(False, True)]
DTYPES = [DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32]


def litert(
    kind: str, dtype: DType, data: Array, size: tuple[int, int], options: ResizeOptions
) -> Array:
    quant = None if dtype is DType.FLOAT32 else Quant(0.1, 0, dtype)
    return run_op(
        kind,
        [(quant, data)],
        quant,
        (data.shape[0], *size, data.shape[3]),
        constants=[np.array(size, np.int32)],
        version=3,
        align_corners=options.align_corners,
        half_pixel_centers=options.half_pixel_centers,
    )


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "align_corners", "half_pixel"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.value)
@pytest.mark.parametrize("kind", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_equals_litert(kind: str, dtype: DType, options: ResizeOptions) -> None:
    rng = np.random.default_rng(71)
    for _ in range(MODELS):
        height, width, *wanted = (int(n) for n in rng.integers(1, 14, 4))
        size = (wanted[0], wanted[1])
        shape = (2, height, width, 3)
        data: Array = rng.normal(size=shape).astype(np.float32)
        if dtype is not DType.FLOAT32:
            data = random_data(rng, dtype, shape)
        if kind == "RESIZE_NEAREST_NEIGHBOR":
            result = resize_nearest_reference(data, size, options)
        elif dtype in (DType.INT8, DType.INT16):
            result = resize_bilinear_integer_reference(data, size, options)
        else:
            result = resize_bilinear_float_reference(data, size, options)
        expected = litert(kind, dtype, data, size, options)
        if dtype is DType.FLOAT32:
            np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(result, expected, f"{shape} {size}")
