"""Single-operator quantized models with random scales, and their results on LiteRT's kernels.

In: operator, ``Quant`` of each tensor, data. Out: what the reference kernels compute, flat or in
the output's shape. The scales span many octaves around those of real networks, zero points the
whole type; everything is drawn from a seeded generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.litert import run_litert
from tests.tflite_builder import ModelBuilder
from utvm.ir.dtype import DType
from utvm.op.quantize_params import Activation, Quant

Array = np.ndarray[Any, np.dtype[Any]]

ACTIVATIONS = list(Activation)
ACTIVATION_NAMES = {
    Activation.NONE: "NONE",
    Activation.RELU: "RELU",
    Activation.RELU6: "RELU6",
    Activation.RELU_N1_TO_1: "RELU_N1_TO_1",
}
DTYPES = [DType.INT8, DType.UINT8, DType.INT16]


def random_quant(rng: np.random.Generator, dtype: DType, low: float = -7, high: float = 3) -> Quant:
    """A scale between 2^low and 2^high; zero point 0 for int16, anything else for 8 bits."""
    zero = 0
    if dtype is not DType.INT16:
        zero = int(rng.integers(dtype.minimum, dtype.maximum + 1))
    return Quant(float(np.float32(2.0 ** rng.uniform(low, high))), zero, dtype)


def random_data(rng: np.random.Generator, dtype: DType, shape: Sequence[int]) -> Array:
    """Uniform, with both ends of the type present where there is room."""
    data = rng.integers(dtype.minimum, dtype.maximum + 1, tuple(shape))
    if data.size >= 2:
        data.flat[0], data.flat[-1] = dtype.minimum, dtype.maximum
    return data.astype(dtype.numpy)


def all_values(dtype: DType) -> Array:
    """Every value of an 8- or 16-bit type, as one row."""
    return np.arange(dtype.minimum, dtype.maximum + 1).astype(dtype.numpy)[None]


def add_tensor(builder: ModelBuilder, quant: Quant | None, data: Array, constant: bool) -> int:
    """A tensor like ``data``: quantized if ``quant`` is given, and a constant if it says so."""
    return builder.tensor(
        data.shape,
        data.dtype,
        scale=None if quant is None else quant.scale,
        zero_point=None if quant is None else quant.zero_point,
        data=data if constant else None,
    )


def run_op(
    kind: str,
    inputs: Sequence[tuple[Quant | None, Array]],
    out: Quant | None,
    out_shape: Sequence[int],
    *,
    constants: Sequence[Array] = (),
    version: int = 1,
    **options: Any,
) -> Array:
    """One operator on LiteRT's reference kernels; ``constants`` follow the inputs, unquantized.

    ``out`` None stands for a float32 output.
    """
    builder = ModelBuilder()
    indices = [add_tensor(builder, quant, data, constant=False) for quant, data in inputs]
    extra = [add_tensor(builder, None, data, constant=True) for data in constants]
    dtype = np.dtype(np.float32) if out is None else out.dtype.numpy
    result = add_tensor(builder, out, np.zeros(tuple(out_shape), dtype), constant=False)
    builder.op(kind, indices + extra, [result], version=version, **options)
    model = builder.build(indices, [result])
    return run_litert(model, [data for _, data in inputs])[0]
