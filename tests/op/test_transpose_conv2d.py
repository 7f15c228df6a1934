"""transpose_conv2d: compiled TFLite operators equal LiteRT, phases the scattered definition."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiled import run_graphs
from tests.op.single_op_models import ConvCase, check_models, conv_model
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.registry import find_op
from utvm.op.transpose_conv2d import OP, TransposeConv2dAttrs
from utvm.op.transpose_conv2d_phases import OP as PHASES
from utvm.op.transpose_conv2d_phases import TransposeConv2dPhasesAttrs
from utvm.passes.legalize import legalize
from utvm.support.errors import ModelError, UnsupportedError

DTYPES = [DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32]
# shape, filter, channels, strides, padding, activation
GEOMETRIES = [
    ((1, 4, 5, 3), (3, 3), 4, (2, 2), "SAME", "NONE"),
    ((2, 3, 4, 2), (2, 2), 3, (2, 2), "VALID", "RELU6"),
    ((1, 5, 3, 4), (3, 4), 2, (1, 1), "SAME", "RELU"),
    ((1, 1, 6, 5), (1, 7), 4, (1, 4), "VALID", "NONE"),
    ((1, 3, 3, 2), (1, 2), 2, (3, 4), "SAME", "NONE"),
    ((1, 1, 1, 1), (1, 1), 1, (1, 1), "VALID", "RELU_N1_TO_1"),
    ((1, 4, 3, 1), (5, 3), 2, (3, 2), "SAME", "NONE"),
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_models_equal_litert(dtype: DType) -> None:
    rng = np.random.default_rng(91)
    models = []
    for i, (shape, window, channels, strides, padding, activation) in enumerate(GEOMETRIES):
        case = ConvCase(
            "TRANSPOSE_CONV",
            dtype,
            shape,
            window,
            channels,
            strides,
            padding=padding,
            activation=activation,
            per_channel=i % 3 != 2,
            bias=i % 4 != 3,
        )
        models.append(conv_model(rng, case))
    check_models(models)


def test_schedule_of_a_core_computes_the_same() -> None:
    rng = np.random.default_rng(92)
    cases = [
        ConvCase("TRANSPOSE_CONV", dtype, (1, 3, 5, 8), (3, 3), 5, (2, 2))
        for dtype in (DType.INT8, DType.FLOAT32)
    ]
    check_models([conv_model(rng, case) for case in cases], "cortex-m4")


def sized(size: tuple[int, int], padding: tuple[int, int]) -> TransposeConv2dAttrs:
    return TransposeConv2dAttrs((2, 3), padding, size)


@pytest.mark.parametrize(
    "attrs",
    [
        sized((9, 14), (0, 0)),
        sized((6, 9), (2, 1)),
        sized((13, 20), (0, 2)),
        sized((1, 2), (3, 4)),
        sized((2, 3), (20, 30)),
    ],
)
def test_phases_equal_the_definition(attrs: TransposeConv2dAttrs) -> None:
    """Cropped, with rows that nothing reaches, and smaller than the strides."""
    rng = np.random.default_rng(93)
    x = rng.uniform(-1, 1, (2, 4, 4, 3)).astype(np.float32)
    weight = rng.uniform(-1, 1, (5, 3, 4, 3)).astype(np.float32)
    bias = rng.uniform(-1, 1, 5).astype(np.float32)
    b = GraphBuilder("transposed", find_op)
    source = b.input("x", TensorType(x.shape, DType.FLOAT32))
    b.output(b.emit("transpose_conv2d", [source, b.constant(weight), b.constant(bias)], attrs))
    graph = b.build()
    assert OP.reference is not None
    (expected,) = OP.reference([x, weight, bias], attrs)
    ((found,),) = run_graphs([(graph, [x])])
    np.testing.assert_allclose(found, expected, 1e-5, 1e-6)
    plain = legalize(graph, find_op)
    (node,) = plain.nodes
    assert PHASES.reference is not None
    operands = [x, *(plain.constants[name] for name in node.inputs[1:])]
    (phased,) = PHASES.reference(operands, node.attrs)
    np.testing.assert_allclose(phased, expected, 1e-5, 1e-6)


def test_compiled_phases_equal_the_reference() -> None:
    rng = np.random.default_rng(94)
    x = rng.integers(-128, 128, (1, 3, 4, 2)).astype(np.int8)
    weight = rng.integers(-128, 128, 3 * 3 * 2 * 4).astype(np.int8)
    bias = rng.integers(-9999, 9999, (2 * 2 * 4)).astype(np.int32)
    attrs = TransposeConv2dPhasesAttrs((3, 3), (2, 2), (1, 0), (5, 8), -7, 3)
    b = GraphBuilder("phases", find_op)
    source = b.input("x", TensorType(x.shape, DType.INT8))
    operands = [source, b.constant(weight), b.constant(bias)]
    b.output(b.emit("transpose_conv2d_phases", operands, attrs))
    assert PHASES.reference is not None
    (expected,) = PHASES.reference([x, weight, bias], attrs)
    ((found,),) = run_graphs([(b.build(), [x])])
    np.testing.assert_array_equal(found, expected)


def test_weights_must_be_constant() -> None:
    b = GraphBuilder("transposed", find_op)
    x = b.input("x", TensorType((1, 2, 2, 1), DType.FLOAT32))
    weight = b.input("w", TensorType((1, 2, 2, 1), DType.FLOAT32))
    attrs = TransposeConv2dAttrs((2, 2), (0, 0), (4, 4))
    b.output(b.emit("transpose_conv2d", [x, weight], attrs))
    with pytest.raises(UnsupportedError, match="the weights are computed at run time"):
        legalize(b.build(), find_op)


def test_type_rule_refuses() -> None:
    x = TensorType((1, 2, 2, 3), DType.INT8)
    attrs = TransposeConv2dAttrs((2, 2), (0, 0), (4, 4))
    with pytest.raises(ModelError, match="depths differ"):
        OP.infer([x, TensorType((1, 2, 2, 1), DType.INT8)], attrs)
