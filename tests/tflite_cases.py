"""One-operator models for every operator of the TFLite importer, float and quantized.

In: nothing; out: ``CASES``, float operators with the result that a direct NumPy formula gives, and
``float_model`` and ``quantized_model``, which write a case as a model and say what to feed it. The
arrays are small, odd in size, the same in every run, and of both signs where the operator allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.tflite_builder import ModelBuilder, per_channel

Array = npt.NDArray[Any]

RANDOM = np.random.default_rng(7)
X = RANDOM.uniform(-2, 2, (1, 6, 5, 4)).astype(np.float32)
Y = RANDOM.uniform(0.5, 2, (1, 6, 5, 4)).astype(np.float32)
ROW = RANDOM.uniform(-2, 2, (4,)).astype(np.float32)
FILTER = RANDOM.uniform(-1, 1, (3, 3, 3, 4)).astype(np.float32)
DEPTHWISE = RANDOM.uniform(-1, 1, (1, 3, 3, 8)).astype(np.float32)
MATRIX = RANDOM.uniform(-1, 1, (7, 4)).astype(np.float32)
BIAS_3 = np.array([0.5, -1.0, 2.0], np.float32)
PADS = np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32)
ONCE = {"padding": "VALID", "stride_w": 1, "stride_h": 1}
TWICE = {"padding": "VALID", "stride_w": 2, "stride_h": 2}
CLIPPED = {"fused_activation_function": "RELU6"}

# Where the weights of an operator stand among its constants, and their channel axis.
WEIGHTS = {
    "CONV_2D": (0, 0),
    "DEPTHWISE_CONV_2D": (0, 3),
    "FULLY_CONNECTED": (0, 0),
    "TRANSPOSE_CONV": (1, 0),
}
# Rounded weights may give results a little beyond those of the exact ones.
MARGIN = 1.05
# The specification fixes these outputs' ranges; other operators here keep their input's.
FIXED_RANGE = {"SOFTMAX": (0.0, 1.0), "LOGISTIC": (0.0, 1.0), "TANH": (-1.0, 1.0)}
KEEPS_RANGE = {
    *("AVERAGE_POOL_2D", "MAX_POOL_2D", "REDUCE_MAX", "REDUCE_MIN", "MAXIMUM", "MINIMUM"),
    *("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "PAD"),
    *("PADV2", "MIRROR_PAD", "CONCATENATION", "STRIDED_SLICE", "SLICE", "SPLIT", "SPLIT_V"),
    *("PACK", "UNPACK", "TRANSPOSE", "GATHER"),
}


@dataclass(frozen=True)
class Case:
    """One operator on float data, and what it must give."""

    kind: str
    inputs: Sequence[Array]
    expected: Sequence[Array]
    constants: Sequence[Array] = ()
    constants_first: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.note}" if self.note else self.kind


@dataclass(frozen=True)
class Quantized:
    """A quantized model, its inputs, and how to read its outputs: (q - zero_point) * scale."""

    model: bytes
    inputs: list[Array]
    float_case: Case
    output_scales: list[float]
    output_zero_points: list[int]


def i32(*values: int) -> Array:
    return np.array(values, np.int32)


def windows(x: Array, size: int, stride: int, dilation: int = 1) -> Array:
    """[rows, columns, size, size, channels] of an unpadded sliding window over image 0."""
    span = (size - 1) * dilation + 1
    rows = range(0, x.shape[1] - span + 1, stride)
    columns = range(0, x.shape[2] - span + 1, stride)
    step = slice(None, None, dilation)
    return np.array([[x[0, r : r + span, c : c + span][step, step] for c in columns] for r in rows])


def conv(x: Array, weights: Array, stride: int = 1, dilation: int = 1) -> Array:
    taps = windows(x, weights.shape[1], stride, dilation)
    return np.asarray(np.einsum("rchwi,ohwi->rco", taps, weights)[None], np.float32)


def depthwise(x: Array, weights: Array, multiplier: int) -> Array:
    taps = np.repeat(windows(x, weights.shape[1], 1), multiplier, axis=-1)
    return np.asarray(np.einsum("rchwi,hwi->rci", taps, weights[0])[None], np.float32)


def transposed_conv(x: Array, weights: Array, stride: int) -> Array:
    size = weights.shape[1]
    rows, columns = ((n - 1) * stride + size for n in x.shape[1:3])
    out = np.zeros((1, rows, columns, weights.shape[0]), np.float32)
    for r in range(x.shape[1]):
        for c in range(x.shape[2]):
            patch = np.einsum("i,ohwi->hwo", x[0, r, c], weights)
            out[0, r * stride : r * stride + size, c * stride : c * stride + size] += patch
    return out


def softmax(x: Array, beta: float) -> Array:
    powers = np.exp(beta * (x - x.max(axis=-1, keepdims=True)))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def zeros(count: int) -> Array:
    return np.zeros(count, np.float32)


ELEMENTWISE = [
    Case("ADD", [X, ROW], [np.clip(X + ROW, 0, 6)], options=CLIPPED),
    Case("SUB", [X, Y], [X - Y]),
    Case("MUL", [X, Y], [np.maximum(X * Y, 0)], options={"fused_activation_function": "RELU"}),
    Case("DIV", [X, Y], [X / Y]),
    Case("MAXIMUM", [X, Y], [np.maximum(X, Y)]),
    Case("MINIMUM", [X, ROW], [np.minimum(X, ROW)]),
    Case("RELU", [X], [np.maximum(X, 0)]),
    Case("RELU6", [X * 4], [np.clip(X * 4, 0, 6)]),
    Case("RELU_N1_TO_1", [X], [np.clip(X, -1, 1)]),
    Case("LEAKY_RELU", [X], [np.where(X > 0, X, 0.25 * X)], options={"alpha": 0.25}),
    Case("LOGISTIC", [X], [1 / (1 + np.exp(-X))]),
    Case("TANH", [X], [np.tanh(X)]),
    Case("HARD_SWISH", [X], [X * np.clip(X + 3, 0, 6) / 6]),
    Case("SOFTMAX", [X[0, 0]], [softmax(X[0, 0], 0.5)], options={"beta": 0.5}),
]

_DILATED = Case(
    "CONV_2D",
    [X],
    [conv(X, FILTER[:, :2, :2], dilation=2) + BIAS_3],
    [FILTER[:, :2, :2], BIAS_3],
    options={**ONCE, "dilation_w_factor": 2, "dilation_h_factor": 2},
    note="dilated",
)
_STRIDED = Case(
    "CONV_2D",
    [X],
    [np.clip(conv(X, FILTER, 2), 0, 6)],
    [FILTER, zeros(3)],
    options={**TWICE, **CLIPPED},
    note="strided",
)
_DEPTHWISE = Case(
    "DEPTHWISE_CONV_2D",
    [X],
    [depthwise(X, DEPTHWISE, 2)],
    [DEPTHWISE, zeros(8)],
    options={**ONCE, "depth_multiplier": 2},
)
_WIDE = transposed_conv(X, FILTER, 2)
_TRANSPOSED = Case(
    "TRANSPOSE_CONV",
    [X],
    [_WIDE],
    [i32(*_WIDE.shape), FILTER],
    constants_first=True,
    options=TWICE,
)
_POOL_2 = {**TWICE, "filter_width": 2, "filter_height": 2}
_POOL_3 = {**ONCE, "filter_width": 3, "filter_height": 3}
_HALVES = X[:, :, :2]

REDUCING = [
    _DILATED,
    _STRIDED,
    _DEPTHWISE,
    _TRANSPOSED,
    Case("FULLY_CONNECTED", [X[0, 0]], [X[0, 0] @ MATRIX.T], [MATRIX, zeros(7)]),
    Case("AVERAGE_POOL_2D", [X], [windows(X, 2, 2).mean(axis=(2, 3))[None]], options=_POOL_2),
    Case("MAX_POOL_2D", [X], [windows(X, 3, 1).max(axis=(2, 3))[None]], options=_POOL_3),
    Case("MEAN", [X], [X.mean(axis=(1, 2))], [i32(1, 2)]),
    Case("SUM", [X], [X.sum(axis=(1, 2))[:, None, None]], [i32(1, 2)], options={"keep_dims": True}),
    Case("REDUCE_MAX", [X], [X.max(axis=3)], [i32(-1)]),
    Case("REDUCE_MIN", [X], [X.min(axis=2)], [i32(2)]),
    Case("RESIZE_NEAREST_NEIGHBOR", [X], [X.repeat(2, axis=1).repeat(3, axis=2)], [i32(12, 15)]),
    Case(
        "RESIZE_BILINEAR",
        [_HALVES],
        [_HALVES.mean(axis=2)[:, :, None]],
        [i32(6, 1)],
        options={"half_pixel_centers": True},
    ),
]

MOVING = [
    Case("RESHAPE", [X], [X.reshape(6, 20)], [i32(6, 20)], options={"new_shape": [6, 20]}),
    Case("SQUEEZE", [X], [X[0]], options={"squeeze_dims": [0]}),
    Case("EXPAND_DIMS", [X[0]], [X[0][None]], [i32(0)]),
    Case("PAD", [X], [np.pad(X, PADS)], [PADS]),
    Case("PADV2", [X], [np.pad(X, PADS, constant_values=1.5)], [PADS, np.array([1.5], np.float32)]),
    Case("MIRROR_PAD", [X], [np.pad(X, PADS, mode="reflect")], [PADS], note="reflect"),
    Case(
        "MIRROR_PAD",
        [X],
        [np.pad(X, PADS, mode="symmetric")],
        [PADS],
        options={"mode": "SYMMETRIC"},
        note="symmetric",
    ),
    Case("CONCATENATION", [X, Y], [np.concatenate([X, Y], axis=2)], options={"axis": 2}),
    Case(
        "STRIDED_SLICE",
        [X],
        [X[:, 1:5:2, ::-1, 2]],
        [i32(0, 1, -1, 2), i32(1, 5, -6, 3), i32(1, 2, -1, 1)],
        options={"begin_mask": 1, "end_mask": 1, "shrink_axis_mask": 8},
    ),
    Case("SLICE", [X], [X[:, 1:4, :, 2:]], [i32(0, 1, 0, 2), i32(1, 3, 5, 2)]),
    Case(
        "SPLIT",
        [X],
        [X[..., :2], X[..., 2:]],
        [i32(3)],
        constants_first=True,
        options={"num_splits": 2},
    ),
    Case("SPLIT_V", [X], [X[:, :1], X[:, 1:]], [i32(1, 5), i32(1)], options={"num_splits": 2}),
    Case("PACK", [X, Y], [np.stack([X, Y], axis=1)], options={"values_count": 2, "axis": 1}),
    Case("UNPACK", [X[0, 0]], list(X[0, 0]), options={"num": 5, "axis": 0}),
    Case("TRANSPOSE", [X], [X.transpose(0, 3, 1, 2)], [i32(0, 3, 1, 2)]),
    Case("GATHER", [X], [X[:, :, [4, 0, 4]]], [i32(4, 0, 4)], options={"axis": 2}),
]

# These give integers, whatever they are fed, or say nothing of quantization.
TYPED = [
    Case("SHAPE", [X], [i32(1, 6, 5, 4)]),
    Case(
        "ARG_MAX",
        [X],
        [X.argmax(axis=3).astype(np.int64)],
        [i32(3)],
        options={"output_type": "int64"},
    ),
    Case(
        "CAST",
        [X],
        [X.astype(np.int32)],
        options={"in_data_type": "float32", "out_data_type": "int32"},
    ),
    Case(
        "CAST",
        [i32(-3, 0, 200)],
        [np.array([True, False, True])],
        options={"in_data_type": "int32", "out_data_type": "bool"},
        note="bool",
    ),
]

QUANTIZABLE = ELEMENTWISE + REDUCING + MOVING
CASES = QUANTIZABLE + TYPED


def float_model(case: Case) -> tuple[bytes, list[Array]]:
    """The case as it stands, as a model and what to feed it."""
    model = ModelBuilder(case.name)
    inputs = [model.tensor(x.shape, x.dtype) for x in case.inputs]
    constants = [model.tensor(c.shape, c.dtype, data=c) for c in case.constants]
    outputs = [model.tensor(y.shape, y.dtype) for y in case.expected]
    _add_op(model, case, inputs, constants, outputs)
    return model.build(inputs, outputs), list(case.inputs)


def quantized_model(case: Case, dtype: npt.DTypeLike) -> Quantized:
    """The case in int8 (weights per channel), legacy uint8 (per tensor) or int16 (int8 weights).

    ``float_case`` has the data as quantization rounded it: what the integer result must come near.
    """
    dtype = np.dtype(dtype)
    model = ModelBuilder(f"{case.name} {dtype}")
    union = np.concatenate([x.ravel() for x in case.inputs])
    ranges = [union if case.kind in KEEPS_RANGE else x for x in case.inputs]
    parameters = [_parameters(values, dtype) for values in ranges]
    fed = [_quantize(x, p, dtype) for x, p in zip(case.inputs, parameters, strict=True)]
    inputs = [model.tensor(x.shape, dtype, *p) for x, p in zip(fed, parameters, strict=True)]
    constants, rounded = _constants(model, case, dtype, parameters[0])
    results = [
        parameters[0]
        if case.kind in KEEPS_RANGE
        else _parameters(np.array(FIXED_RANGE[case.kind]), dtype, exact=True)
        if case.kind in FIXED_RANGE
        else _parameters(y * MARGIN, dtype)
        for y in case.expected
    ]
    outputs = [
        model.tensor(y.shape, dtype, *p) for y, p in zip(case.expected, results, strict=True)
    ]
    _add_op(model, case, inputs, constants, outputs)
    return Quantized(
        model=model.build(inputs, outputs),
        inputs=fed,
        float_case=Case(
            case.kind,
            [_dequantize(x, p) for x, p in zip(fed, parameters, strict=True)],
            case.expected,
            rounded,
            case.constants_first,
            case.options,
        ),
        output_scales=[scale for scale, _ in results],
        output_zero_points=[zero_point for _, zero_point in results],
    )


def _add_op(
    model: ModelBuilder, case: Case, inputs: list[int], constants: list[int], outputs: list[int]
) -> None:
    operands = constants + inputs if case.constants_first else inputs + constants
    model.op(case.kind, operands, outputs, **case.options)


def _constants(
    model: ModelBuilder, case: Case, dtype: np.dtype[Any], parameters: tuple[float, int]
) -> tuple[list[int], list[Array]]:
    """The tensors of the constants, and their values as quantization rounded them."""
    tensors: list[int] = []
    rounded: list[Array] = []
    weight_scales = np.ones(1, np.float32)
    for position, value in enumerate(case.constants):
        if value.dtype == np.int32:
            tensors.append(model.tensor(value.shape, value.dtype, data=value))
            rounded.append(value)
            continue
        if case.kind not in WEIGHTS:
            quantized = _quantize(value, parameters, dtype)
            tensors.append(model.tensor(value.shape, dtype, *parameters, data=quantized))
            rounded.append(_dequantize(quantized, parameters))
            continue
        at, axis = WEIGHTS[case.kind]
        if position == at:
            tensor, restored, weight_scales = _weights(model, value, axis, dtype)
        else:
            tensor, restored = _bias(model, value, parameters[0] * weight_scales, dtype)
        tensors.append(tensor)
        rounded.append(restored)
    return tensors, rounded


def _weights(
    model: ModelBuilder, value: Array, axis: int, dtype: np.dtype[Any]
) -> tuple[int, Array, Array]:
    if dtype == np.uint8:
        parameters = _parameters(value, dtype)
        quantized = _quantize(value, parameters, dtype)
        tensor = model.tensor(value.shape, dtype, *parameters, data=quantized)
        return tensor, _dequantize(quantized, parameters), np.array([parameters[0]], np.float32)
    quantized, scales = per_channel(value, axis)
    shape = [1] * value.ndim
    shape[axis] = -1
    tensor = model.tensor(value.shape, np.int8, scales, axis=axis, data=quantized)
    restored = quantized * np.array(scales, np.float32).reshape(shape)
    return tensor, restored.astype(np.float32), np.array(scales, np.float32)


def _bias(
    model: ModelBuilder, value: Array, scales: Array, dtype: np.dtype[Any]
) -> tuple[int, Array]:
    quantized = np.round(value / scales)
    bias_type = np.int64 if dtype == np.int16 else np.int32
    tensor = model.tensor(value.shape, bias_type, scales.tolist(), data=quantized)
    return tensor, (quantized * scales).astype(np.float32)


def _parameters(values: Array, dtype: np.dtype[Any], exact: bool = False) -> tuple[float, int]:
    """(scale, zero point) for the range of ``values``; int16 is symmetric.

    ``exact`` gives the powers of two of the specification for ranges that it fixes.
    """
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    info = np.iinfo(dtype)
    steps = 256 if exact else 255
    if dtype == np.int16:
        return max(-low, high) / (32768 if exact else 32767), 0
    scale = (high - low) / steps
    return float(np.float32(scale)), int(info.min + np.round(-low / scale))


def _quantize(values: Array, parameters: tuple[float, int], dtype: np.dtype[Any]) -> Array:
    info = np.iinfo(dtype)
    scale, zero_point = parameters
    return np.clip(np.round(values / scale) + zero_point, info.min, info.max).astype(dtype)


def _dequantize(values: Array, parameters: tuple[float, int]) -> Array:
    scale, zero_point = parameters
    return ((values.astype(np.float64) - zero_point) * scale).astype(np.float32)
