"""conv2d: compiled TFLite operators equal LiteRT's reference kernels, plain ones the reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiled import run_graph
from tests.op.single_op_models import ConvCase, check_models, conv_model
from utvm.importers.tflite import import_tflite
from utvm.ir.dtype import DType, dtype_of
from utvm.ir.graph import TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import OP, Conv2dAttrs
from utvm.op.registry import find_op
from utvm.passes.legalize import legalize
from utvm.support.errors import ModelError

# shape, filter, channels, strides, dilation, padding, activation
GEOMETRIES = [
    ((1, 6, 5, 4), (3, 3), 5, (1, 1), (1, 1), "SAME", "NONE"),
    ((1, 7, 7, 8), (1, 1), 8, (1, 1), (1, 1), "SAME", "RELU6"),
    ((2, 5, 6, 3), (3, 2), 2, (1, 2), (1, 1), "VALID", "RELU"),
    ((1, 9, 8, 2), (3, 3), 3, (1, 1), (2, 3), "SAME", "NONE"),
    ((1, 10, 4, 1), (5, 4), 8, (2, 2), (1, 1), "SAME", "RELU_N1_TO_1"),
    ((1, 8, 8, 6), (1, 1), 3, (2, 2), (1, 1), "VALID", "NONE"),
    ((1, 1, 1, 1), (1, 1), 1, (1, 1), (1, 1), "SAME", "NONE"),
    ((1, 1, 9, 3), (1, 7), 1, (1, 2), (1, 1), "SAME", "NONE"),
    ((1, 4, 4, 40), (3, 3), 2, (1, 1), (1, 1), "SAME", "RELU"),
]
DTYPES = [DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32]


@pytest.mark.parametrize("dtype", DTYPES)
def test_models_equal_litert(dtype: DType) -> None:
    rng = np.random.default_rng(51)
    models = []
    for i, geometry in enumerate(GEOMETRIES):
        shape, window, channels, strides, dilation, padding, activation = geometry
        case = ConvCase(
            "CONV_2D",
            dtype,
            shape,
            window,
            channels,
            strides,
            dilation,
            padding,
            activation,
            per_channel=i % 3 != 2,
        )
        models.append(conv_model(rng, case))
    check_models(models)


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"])
@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
def test_filters_of_zeros_do_not_hinder_the_others(kind: str, dtype: DType) -> None:
    rng = np.random.default_rng(54)
    case = ConvCase(kind, dtype, (1, 5, 5, 8), (3, 3), 8, idle=5)
    model = conv_model(rng, case)
    check_models([model])
    if dtype is DType.INT8:
        graph = import_tflite(model.data, name="model", find_op=find_op)
        ops = [node.op for node in legalize(graph, find_op).nodes]
        assert "requantize_linear" in ops and "requantize" not in ops


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4"])
def test_schedules_of_the_cores_compute_the_same(target: str) -> None:
    rng = np.random.default_rng(52)
    cases = [
        ConvCase("CONV_2D", dtype, (1, 5, 7, 3), (3, 3), 5, strides)
        for dtype in (DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32)
        for strides in ((1, 1), (2, 2))
    ]
    check_models([conv_model(rng, case) for case in cases], target)


@pytest.mark.parametrize(("depth", "dtype"), [(6, np.int8), (2, np.int8), (1, np.int16)])
def test_groups_and_zero_points_equal_the_reference(depth: int, dtype: type) -> None:
    rng = np.random.default_rng(53)
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max + 1, (2, 7, 6, 6)).astype(dtype)
    weight = rng.integers(-128, 128, (12, 3, 2, depth)).astype(np.int8)
    bias = rng.integers(-(2**20), 2**20, 12).astype(np.int32)
    attrs = Conv2dAttrs(
        strides=(2, 1),
        dilation=(1, 2),
        padding=(1, 0, 2, 1),
        input_zero_point=-5,
        weight_zero_point=3,
    )
    b = GraphBuilder("plain", find_op)
    source = b.input("x", TensorType(x.shape, dtype_of(x)))
    b.output(b.emit("conv2d", [source, b.constant(weight), b.constant(bias)], attrs))
    assert OP.reference is not None
    (expected,) = OP.reference([x, weight, bias], attrs)
    (found,) = run_graph(b.build(), [x])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("weights", [127, 1])
def test_sums_beyond_int32_stay_exact(weights: int) -> None:
    """int16 activations sum in int64; in int32 where the weights are small enough, bias last."""
    x = np.full((1, 1, 1, 600), -32768, np.int16)
    weight = np.full((1, 1, 1, 600), weights, np.int8)
    bias = np.array([-(2**40)], np.int64)
    b = GraphBuilder("wide", find_op)
    source = b.input("x", TensorType(x.shape, DType.INT16))
    attrs = Conv2dAttrs(accumulator="int64")
    b.output(b.emit("conv2d", [source, b.constant(weight), b.constant(bias)], attrs))
    (found,) = run_graph(b.build(), [x])
    assert found.reshape(-1).tolist() == [-32768 * weights * 600 - 2**40]


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        ((1, 4, 4, 3), (4, 3, 3, 2), "input channels do not fit the weights"),
        ((1, 4, 4, 4), (3, 3, 3, 2), "filters do not fit the groups"),
        ((4, 4, 3), (4, 3, 3, 3), "takes NHWC and OHWI"),
        ((1, 2, 2, 3), (1, 3, 3, 3), "the window is larger than its padded input"),
    ],
)
def test_type_rule_refuses(x: tuple[int, ...], weight: tuple[int, ...], message: str) -> None:
    types = [TensorType(x, DType.INT8), TensorType(weight, DType.INT8)]
    with pytest.raises(ModelError, match=message):
        OP.infer(types, Conv2dAttrs())
