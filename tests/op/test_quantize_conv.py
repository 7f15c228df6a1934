"""Convolutions and FULLY_CONNECTED: the rescaling equals LiteRT's reference kernels.

The filters have one tap, so that the accumulators here are one matrix product; what is compared
is everything after it: factors in float32 or double, rounding, zero point, fused activation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tflite

from tests.litert import run_litert
from tests.op.quantized_models import (
    ACTIVATION_NAMES,
    ACTIVATIONS,
    Array,
    add_tensor,
    random_data,
    random_quant,
)
from tests.tflite_builder import ModelBuilder
from utvm.ir.dtype import DType
from utvm.op.quantize_conv import (
    conv_params,
    conv_rescale,
    fully_connected_params,
    fully_connected_rescale,
)
from utvm.op.quantize_params import Activation, Quant
from utvm.support.errors import ModelError, UnsupportedError

MODELS = 12
CHANNELS = 6
VERSIONS = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 5, "TRANSPOSE_CONV": 4, "FULLY_CONNECTED": 7}
# dtype, per channel, int32 bias
FORMS = [
    (DType.INT8, False, True),
    (DType.INT8, True, True),
    (DType.UINT8, False, True),
    (DType.INT16, False, False),
    (DType.INT16, True, False),
    (DType.INT16, True, True),
]


@dataclass(frozen=True)
class Layer:
    """One layer: its tensors and the accumulators they give, channels last."""

    kind: str
    x: Quant
    filter_scales: tuple[float, ...]
    filter_zero: int
    out: Quant
    activation: Activation
    data: Array
    weights: Array
    bias: Array
    acc: Array
    int32_bias: bool

    def litert(self) -> Array:
        builder = ModelBuilder()
        data = add_tensor(builder, self.x, self.data, constant=False)
        weights = builder.tensor(
            self.weights.shape,
            self.weights.dtype,
            scale=self.filter_scales,
            zero_point=self.filter_zero,
            axis=3 if self.kind == "DEPTHWISE_CONV_2D" else 0,
            data=self.weights,
        )
        bias_scales = [self.x.scale * scale for scale in self.filter_scales]
        bias = builder.tensor(
            self.bias.shape, self.bias.dtype, scale=bias_scales, axis=0, data=self.bias
        )
        result = add_tensor(builder, self.out, np.zeros_like(self.acc, self.data.dtype), False)
        inputs = [data, weights, bias]
        if self.kind == "TRANSPOSE_CONV":
            shape = add_tensor(builder, None, np.array(self.acc.shape, np.int32), constant=True)
            inputs = [shape, weights, data, bias]
        options: dict[str, object] = {
            "fused_activation_function": ACTIVATION_NAMES[self.activation]
        }
        if self.x.dtype is DType.INT16 and self.int32_bias:
            options["quantized_bias_type"] = np.int32
        builder.op(self.kind, inputs, [result], version=VERSIONS[self.kind], **options)
        return run_litert(builder.build([data], [result]), [self.data])[0]


def random_layer(
    rng: np.random.Generator, kind: str, dtype: DType, per_channel: bool, int32_bias: bool
) -> Layer:
    x = random_quant(rng, dtype, -7, -1)
    out = random_quant(rng, dtype, -3, 4)
    count = CHANNELS if per_channel else 1
    scales = tuple(float(np.float32(2.0 ** rng.uniform(-10, -2))) for _ in range(count))
    filter_dtype = DType.UINT8 if dtype is DType.UINT8 else DType.INT8
    zero = int(rng.integers(0, 256)) if dtype is DType.UINT8 else 0
    if kind == "FULLY_CONNECTED" and dtype is DType.INT8 and not per_channel:
        zero = int(rng.integers(-20, 20))
    bias_dtype = np.int32 if int32_bias else np.int64
    bias = rng.integers(-3000, 3000, CHANNELS).astype(bias_dtype)
    shape = (4, 40) if kind == "FULLY_CONNECTED" else (1, 4, 4, CHANNELS)
    taps = {
        "FULLY_CONNECTED": (CHANNELS, 40),
        "DEPTHWISE_CONV_2D": (1, 1, 1, CHANNELS),
    }.get(kind, (CHANNELS, 1, 1, CHANNELS))
    data, weights = random_data(rng, dtype, shape), random_data(rng, filter_dtype, taps)
    if filter_dtype is DType.INT8:
        weights = np.maximum(weights, -127)
    centred = data.astype(np.int64) - x.zero_point
    factors = weights.astype(np.int64) - zero
    if kind == "DEPTHWISE_CONV_2D":
        acc = centred * factors[0, 0, 0] + bias
    else:
        acc = centred @ factors.reshape(CHANNELS, -1).T + bias
    activation = ACTIVATIONS[int(rng.integers(4))]
    return Layer(kind, x, scales, zero, out, activation, data, weights, bias, acc, int32_bias)


# LiteRT's int16 DEPTHWISE_CONV_2D takes an int64 bias only.
CONVOLUTIONS = [
    (kind, *form)
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
    for form in FORMS
    if (kind, *form) != ("DEPTHWISE_CONV_2D", DType.INT16, True, True)
]


@pytest.mark.parametrize(("kind", "dtype", "per_channel", "int32_bias"), CONVOLUTIONS)
def test_convolutions_equal_litert(
    kind: str, dtype: DType, per_channel: bool, int32_bias: bool
) -> None:
    rng = np.random.default_rng(51)
    for _ in range(MODELS):
        layer = random_layer(rng, kind, dtype, per_channel, int32_bias)
        p = conv_params(
            layer.x,
            layer.filter_scales,
            layer.filter_zero,
            layer.out,
            layer.activation,
            int32_bias=layer.int32_bias,
        )
        assert p.wide == (dtype is DType.INT16 and not int32_bias)
        np.testing.assert_array_equal(conv_rescale(layer.acc, p), layer.litert(), f"{p}")


@pytest.mark.parametrize(("dtype", "per_channel", "int32_bias"), FORMS)
def test_fully_connected_equals_litert(dtype: DType, per_channel: bool, int32_bias: bool) -> None:
    rng = np.random.default_rng(52)
    for _ in range(MODELS):
        layer = random_layer(rng, "FULLY_CONNECTED", dtype, per_channel, int32_bias)
        p = fully_connected_params(
            layer.x, layer.filter_scales, layer.filter_zero, layer.out, layer.activation
        )
        result = fully_connected_rescale(layer.acc, p)
        np.testing.assert_array_equal(result, layer.litert(), f"{p}")


def test_fully_connected_rounds_once_in_double() -> None:
    x, out = Quant(0.5, 0, DType.INT8), Quant(1.0, 0, DType.INT8)
    p = fully_connected_params(x, (1.0,), 0, out, Activation.NONE)
    np.testing.assert_array_equal(fully_connected_rescale([-3, -1, 1, 3], p), [-2, -1, 1, 2])


ACTIVATION_CODES = [Activation.NONE, Activation.RELU, Activation.RELU_N1_TO_1, Activation.RELU6]


def stacked_layers(path: Path, data: Array) -> Array:
    """A network of FULLY_CONNECTED alone, run with the parameters of this module."""
    model = tflite.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)

    def quant(index: int) -> Quant:
        q = graph.Tensors(index).Quantization()
        return Quant(float(q.Scale(0)), int(q.ZeroPoint(0)), DType.INT8)

    def constant(index: int, dtype: type) -> Array:
        tensor = graph.Tensors(index)
        raw = model.Buffers(tensor.Buffer()).DataAsNumpy().view(dtype)
        return raw.reshape(tensor.ShapeAsNumpy()).astype(np.int64)

    for nth in range(graph.OperatorsLength()):
        op = graph.Operators(nth)
        source, weights, bias = op.InputsAsNumpy()
        options = tflite.FullyConnectedOptions()
        options.Init(op.BuiltinOptions().Bytes, op.BuiltinOptions().Pos)
        x, w = quant(source), quant(weights)
        p = fully_connected_params(
            x,
            (w.scale,),
            w.zero_point,
            quant(op.Outputs(0)),
            ACTIVATION_CODES[options.FusedActivationFunction()],
        )
        centred = data.astype(np.int64) - x.zero_point
        acc = centred @ (constant(weights, np.int8) - w.zero_point).T + constant(bias, np.int32)
        data = fully_connected_rescale(acc, p)
    return data


@pytest.mark.parametrize("name", ["mlperf_ad01_int8", "tflm_hello_world_int8"])
def test_real_fully_connected_networks(shared_models: Path, name: str) -> None:
    golden = np.load(shared_models / name / "golden.npz")
    rows = golden["in0"].reshape(len(golden["in0"]), -1)
    result = stacked_layers(shared_models / name / "model.tflite", rows)
    expected = golden["out0"].reshape(result.shape)
    np.testing.assert_array_equal(result, expected)
    # TFLite Micro rescales in fixed point, and that shows in these two networks.
    assert np.any(golden["out0_tflm"].reshape(result.shape) != expected)


def test_uint8_has_one_filter_scale() -> None:
    quant = Quant(0.5, 128, DType.UINT8)
    with pytest.raises(UnsupportedError, match="uint8 convolutions have one filter scale"):
        conv_params(quant, (0.1, 0.2), 0, quant, Activation.NONE)
    with pytest.raises(UnsupportedError, match="uint8 FULLY_CONNECTED has one filter scale"):
        fully_connected_params(quant, (0.1, 0.2), 0, quant, Activation.NONE)


def test_int8_filters_are_symmetric() -> None:
    quant = Quant(0.5, 0, DType.INT8)
    with pytest.raises(ModelError, match="an int8 filter has a zero point"):
        conv_params(quant, (0.1,), 3, quant, Activation.NONE)


def test_too_fine_an_output_is_refused() -> None:
    coarse, fine = Quant(1e6, 0, DType.INT16), Quant(1e-6, 0, DType.INT16)
    with pytest.raises(UnsupportedError, match="output scale is too fine"):
        conv_params(coarse, (1.0,), 0, fine, Activation.NONE)
