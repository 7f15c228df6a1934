"""TFLite models of one operator for random shapes and types, compiled and compared with LiteRT.

``conv_model`` writes a convolution of any kind, ``op_model`` any other operator. ``check_models``
runs all models in one native program and on LiteRT's reference kernels: integers must be equal,
floats within 1e-5 relative and 1e-6 absolute. Scales are such that results spread over the output
type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.compiled import run_models
from tests.litert import run_litert
from tests.op.quantized_models import Array, add_tensor, random_data
from tests.tflite_builder import ModelBuilder
from utvm.ir.dtype import DType
from utvm.op.quantize_params import Quant

VERSIONS = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 5, "TRANSPOSE_CONV": 4, "FULLY_CONNECTED": 7}
RELATIVE, ABSOLUTE = 1e-5, 1e-6


@dataclass(frozen=True)
class Model:
    """A model, what to feed it, and what to say when it fails."""

    data: bytes
    inputs: tuple[Array, ...]
    note: str


def check_models(models: Sequence[Model], target: str = "host") -> None:
    """Compares every model's outputs with the reference kernels'."""
    results = run_models([(model.data, model.inputs) for model in models], target)
    for model, outputs in zip(models, results, strict=True):
        for found, expected in zip(outputs, run_litert(model.data, model.inputs), strict=True):
            if expected.dtype.kind == "f":
                np.testing.assert_allclose(
                    found, expected, RELATIVE, ABSOLUTE, equal_nan=True, err_msg=model.note
                )
            else:
                np.testing.assert_array_equal(found, expected, model.note)


def quantized(rng: np.random.Generator, dtype: DType, scale: float) -> Quant | None:
    """A random zero point (0 for int16) with a given scale; None for float32."""
    if dtype is DType.FLOAT32:
        return None
    zero = 0
    if dtype is not DType.INT16:
        zero = int(rng.integers(dtype.minimum, dtype.maximum + 1))
    return Quant(float(np.float32(scale)), zero, dtype)


def data_of(rng: np.random.Generator, dtype: DType, shape: Sequence[int]) -> Array:
    """Random elements: the whole range of an integer type, floats in [-2, 2)."""
    if dtype is DType.FLOAT32:
        return rng.uniform(-2, 2, tuple(shape)).astype(np.float32)
    return random_data(rng, dtype, shape)


def op_model(
    kind: str,
    data: Sequence[Array],
    quants: Sequence[Quant | None],
    out_shape: Sequence[int],
    out: Quant | None,
    *,
    out_dtype: np.dtype[Any] | type | None = None,
    constants: Sequence[Array] = (),
    version: int = 1,
    **options: Any,
) -> Model:
    """One operator on run-time inputs, followed by unquantized constants."""
    builder = ModelBuilder()
    inputs = [add_tensor(builder, q, d, False) for q, d in zip(quants, data, strict=True)]
    extra = [add_tensor(builder, None, constant, True) for constant in constants]
    dtype = data[0].dtype if out_dtype is None else np.dtype(out_dtype)
    result = add_tensor(builder, out, np.zeros(tuple(out_shape), dtype), False)
    builder.op(kind, inputs + extra, [result], version=version, **options)
    shapes = [array.shape for array in data]
    note = f"{kind} {dtype} {shapes} -> {tuple(out_shape)} {options}"
    return Model(builder.build(inputs, [result]), tuple(data), note)


@dataclass(frozen=True)
class ConvCase:
    """One convolution, or a FULLY_CONNECTED whose rows are the pixels of one image row.

    ``filter`` is height and width; ``channels`` counts the result's. The first ``idle`` filters are
    zeros, with scales and biases far from the others'.
    """

    kind: str
    dtype: DType
    shape: tuple[int, int, int, int]
    filter: tuple[int, int]
    channels: int
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: str = "SAME"
    activation: str = "NONE"
    per_channel: bool = True
    bias: bool = True
    idle: int = 0
    groups: int = 1

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        sizes = []
        for i in range(2):
            extent, stride = self.shape[1 + i], self.strides[i]
            reach = (self.filter[i] - 1) * self.dilation[i] + 1
            if self.kind == "TRANSPOSE_CONV":
                extra = max(reach - stride, 0) if self.padding == "VALID" else 0
                sizes.append(extent * stride + extra)
            elif self.padding == "SAME":
                sizes.append(-(-extent // stride))
            else:
                sizes.append((extent - reach) // stride + 1)
        return self.shape[0], sizes[0], sizes[1], self.channels

    @property
    def filter_shape(self) -> tuple[int, ...]:
        height, width = self.filter
        if self.kind == "DEPTHWISE_CONV_2D":
            return 1, height, width, self.channels
        if self.kind == "FULLY_CONNECTED":
            return self.channels, self.shape[3]
        return self.channels, height, width, self.shape[3] // self.groups


def conv_model(rng: np.random.Generator, case: ConvCase) -> Model:
    """The case with random data; weights and bias are constants."""
    builder = ModelBuilder()
    dtype, flat = case.dtype, case.kind == "FULLY_CONNECTED"
    data = data_of(rng, dtype, case.shape[2:] if flat else case.shape)
    x_quant = quantized(rng, dtype, 0.02)
    source = add_tensor(builder, x_quant, data, False)
    weight, scales = _weights(rng, builder, case)
    operands = [source, weight]
    if case.kind == "TRANSPOSE_CONV":
        operands = [
            add_tensor(builder, None, np.array(case.out_shape, np.int32), True),
            weight,
            source,
        ]
    if case.bias:
        operands.append(_bias(rng, builder, case, scales))
    spread = float(np.sqrt(np.prod(case.filter))) * 0.3
    if case.kind != "DEPTHWISE_CONV_2D":
        spread *= float(np.sqrt(case.shape[3] // case.groups))
    out_quant = quantized(rng, dtype, spread * (0.002 if dtype is DType.INT16 else 0.02))
    out_shape = case.out_shape[2:] if flat else case.out_shape
    result = add_tensor(builder, out_quant, np.zeros(out_shape, data.dtype), False)
    options: dict[str, Any] = {"fused_activation_function": case.activation}
    if not flat:
        options["padding"] = case.padding
        options["stride_h"], options["stride_w"] = case.strides
    if case.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        options["dilation_h_factor"], options["dilation_w_factor"] = case.dilation
    if case.kind == "DEPTHWISE_CONV_2D":
        options["depth_multiplier"] = case.channels // case.shape[3]
    builder.op(case.kind, operands, [result], version=VERSIONS[case.kind], **options)
    return Model(builder.build([source], [result]), (data,), str(case))


def _weights(
    rng: np.random.Generator, builder: ModelBuilder, case: ConvCase
) -> tuple[int, list[float]]:
    """The filter and its scales: per channel, or one."""
    if case.dtype is DType.FLOAT32:
        data = rng.uniform(-0.5, 0.5, case.filter_shape).astype(np.float32)
        return builder.tensor(data.shape, data.dtype, data=data), []
    is_uint8 = case.dtype is DType.UINT8
    data = random_data(rng, case.dtype if is_uint8 else DType.INT8, case.filter_shape)
    if not is_uint8:
        data = np.maximum(data, -127)
    several = case.per_channel and not is_uint8
    scales = [float(np.float32(s)) for s in rng.uniform(0.003, 0.01, case.channels)]
    scales = scales if several else scales[:1]
    idle = (slice(case.idle),) if case.kind != "DEPTHWISE_CONV_2D" else (..., slice(case.idle))
    data[idle] = 0
    if several:
        scales[: case.idle] = [float(np.float32(1e-9))] * case.idle
    zero = int(rng.integers(0, 256)) if is_uint8 else 0
    axis = 3 if case.kind == "DEPTHWISE_CONV_2D" else 0
    index = builder.tensor(
        data.shape, data.dtype, scale=scales, zero_point=zero, axis=axis, data=data
    )
    return index, scales


def _bias(
    rng: np.random.Generator, builder: ModelBuilder, case: ConvCase, scales: list[float]
) -> int:
    if not scales:
        data = rng.uniform(-1, 1, case.channels).astype(np.float32)
        return builder.tensor(data.shape, data.dtype, data=data)
    dtype = np.int64 if case.dtype is DType.INT16 else np.int32
    data = rng.integers(-3000, 3000, case.channels).astype(dtype)
    data[: case.idle] = rng.integers(-(2**31), 2**31, case.idle)
    return builder.tensor(
        data.shape, data.dtype, scale=[0.02 * scale for scale in scales], axis=0, data=data
    )
