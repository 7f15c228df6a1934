"""depthwise_conv2d: compiled TFLite operators equal LiteRT's reference kernels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.compiled import run_graph
from tests.op.single_op_models import ConvCase, check_models, conv_model
from utvm.ir.dtype import DType, dtype_of
from utvm.ir.graph import TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.depthwise_conv2d import OP
from utvm.op.registry import find_op
from utvm.support.errors import ModelError

# shape, filter, multiplier, strides, dilation, padding, activation
GEOMETRIES = [
    ((1, 6, 5, 4), (3, 3), 1, (1, 1), (1, 1), "SAME", "NONE"),
    ((1, 7, 7, 8), (3, 3), 1, (2, 2), (1, 1), "SAME", "RELU6"),
    ((2, 5, 6, 3), (3, 2), 2, (1, 2), (1, 1), "VALID", "RELU"),
    ((1, 9, 8, 2), (3, 3), 1, (1, 1), (2, 3), "SAME", "NONE"),
    ((1, 10, 4, 1), (5, 4), 8, (2, 2), (1, 1), "SAME", "RELU_N1_TO_1"),
    ((1, 4, 4, 5), (1, 1), 3, (1, 1), (1, 1), "VALID", "NONE"),
    ((1, 1, 1, 1), (1, 1), 1, (1, 1), (1, 1), "SAME", "NONE"),
    ((1, 1, 9, 3), (1, 7), 1, (1, 2), (1, 1), "SAME", "NONE"),
    ((1, 8, 8, 2), (5, 5), 1, (3, 1), (1, 1), "SAME", "RELU"),
    ((1, 30, 1, 2), (21, 1), 1, (1, 1), (1, 1), "VALID", "NONE"),
]
DTYPES = [DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32]


@pytest.mark.parametrize("dtype", DTYPES)
def test_models_equal_litert(dtype: DType) -> None:
    rng = np.random.default_rng(61)
    models = []
    for i, geometry in enumerate(GEOMETRIES):
        shape, window, multiplier, strides, dilation, padding, activation = geometry
        case = ConvCase(
            "DEPTHWISE_CONV_2D",
            dtype,
            shape,
            window,
            shape[3] * multiplier,
            strides,
            dilation,
            padding,
            activation,
            per_channel=i % 3 != 2,
            bias=i % 4 != 3,
        )
        models.append(conv_model(rng, case))
    check_models(models)


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4"])
def test_schedules_of_the_cores_compute_the_same(target: str) -> None:
    rng = np.random.default_rng(62)
    cases = [
        ConvCase("DEPTHWISE_CONV_2D", dtype, shape, (3, 3), shape[3] * multiplier, strides)
        for dtype, (shape, multiplier, strides) in itertools.product(
            (DType.INT8, DType.UINT8, DType.FLOAT32),
            [((1, 7, 9, 8), 1, (1, 1)), ((1, 6, 7, 3), 2, (2, 2))],
        )
    ]
    check_models([conv_model(rng, case) for case in cases], target)


@pytest.mark.parametrize("zeros", [(0, 0), (-5, 3)])
def test_compiled_equals_reference(zeros: tuple[int, int]) -> None:
    rng = np.random.default_rng(63)
    x = rng.integers(-128, 128, (2, 7, 6, 4)).astype(np.int8)
    weight = rng.integers(-128, 128, (1, 3, 2, 8)).astype(np.int8)
    bias = rng.integers(-(2**20), 2**20, 8).astype(np.int32)
    attrs = Conv2dAttrs(
        strides=(2, 1),
        padding=(1, 0, 2, 1),
        input_zero_point=zeros[0],
        weight_zero_point=zeros[1],
    )
    b = GraphBuilder("plain", find_op)
    source = b.input("x", TensorType(x.shape, dtype_of(x)))
    b.output(b.emit("depthwise_conv2d", [source, b.constant(weight), b.constant(bias)], attrs))
    assert OP.reference is not None
    (expected,) = OP.reference([x, weight, bias], attrs)
    (found,) = run_graph(b.build(), [x])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        ((1, 4, 4, 3), (1, 3, 3, 4), "filters do not fit the input channels"),
        ((1, 4, 4, 3), (2, 3, 3, 3), "takes NHWC"),
        ((1, 2, 2, 3), (1, 3, 3, 3), "the window is larger than its padded input"),
    ],
)
def test_type_rule_refuses(x: tuple[int, ...], weight: tuple[int, ...], message: str) -> None:
    types = [TensorType(x, DType.INT8), TensorType(weight, DType.INT8)]
    with pytest.raises(ModelError, match=message):
        OP.infer(types, Conv2dAttrs())
