"""The table of types says what LiteRT's reference kernels run, and refuses what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.op.quantized_models import Array, run_op
from utvm.ir.dtype import DType
from utvm.op.quantize_params import Quant
from utvm.op.quantize_types import REFERENCE_TYPES

SIGMOID_SCALES = {DType.INT8: 1.0 / 256, DType.UINT8: 1.0 / 256, DType.INT16: 2.0**-15}
QUANTIZED = set(SIGMOID_SCALES)
SHAPE = (1, 2, 2, 1)
BINARY = {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "CONCATENATION"}
# What follows the data: axes, an output size, paddings; and the shape of the result.
FOLLOWED: dict[str, tuple[list[int] | list[list[int]], tuple[int, ...]]] = {
    "MEAN": ([1, 2], (1, 1, 1, 1)),
    "SUM": ([1, 2], (1, 1, 1, 1)),
    "REDUCE_MAX": ([1, 2], (1, 1, 1, 1)),
    "REDUCE_MIN": ([1, 2], (1, 1, 1, 1)),
    "RESIZE_BILINEAR": ([3, 3], (1, 3, 3, 1)),
    "RESIZE_NEAREST_NEIGHBOR": ([3, 3], (1, 3, 3, 1)),
    "PAD": ([[0, 0], [1, 0], [0, 0], [0, 0]], (1, 3, 2, 1)),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "MEAN": {"keep_dims": True},
    "SUM": {"keep_dims": True},
    "REDUCE_MAX": {"keep_dims": True},
    "REDUCE_MIN": {"keep_dims": True},
    "CONCATENATION": {"axis": 1},
}


def run(kind: str, dtype: DType) -> Array:
    scale = SIGMOID_SCALES.get(dtype, 1.0) if kind in ("LOGISTIC", "TANH") else 0.5
    quant = Quant(scale, 0, dtype) if dtype in QUANTIZED else None
    data = np.ones(SHAPE, dtype.numpy)
    inputs = [(quant, data)] * (2 if kind in BINARY else 1)
    following, shape = FOLLOWED.get(kind, ([], SHAPE))
    if kind == "CONCATENATION":
        shape = (1, 4, 2, 1)
    if kind.endswith("POOL_2D"):
        shape = SHAPE
    out = quant or Quant(1.0, 0, dtype)
    constants = [np.array(following, np.int32)] if following else []
    return run_op(kind, inputs, out, shape, constants=constants, **OPTIONS.get(kind, {}))


@pytest.mark.parametrize("dtype", DType, ids=lambda d: d.value)
@pytest.mark.parametrize("kind", REFERENCE_TYPES)
def test_table_agrees_with_litert(kind: str, dtype: DType) -> None:
    if dtype in REFERENCE_TYPES[kind]:
        assert run(kind, dtype).size > 0
    else:
        with pytest.raises(RuntimeError):
            run(kind, dtype)
