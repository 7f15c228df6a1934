"""max_pool2d and avg_pool2d: compiled TFLite operators equal LiteRT, plain ones the reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiled import run_graph, run_graphs
from tests.op.single_op_models import Model, check_models, data_of, op_model, quantized
from utvm.ir.dtype import DType, dtype_of
from utvm.ir.graph import Graph, TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.pool2d import AVG_POOL2D, MAX_POOL2D, AvgPool2dAttrs, MaxPool2dAttrs
from utvm.op.registry import find_op
from utvm.support.errors import ModelError

DTYPES = [DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32]
# shape, window, strides, padding, activation
GEOMETRIES = [
    ((1, 6, 5, 4), (2, 2), (2, 2), "VALID", "NONE"),
    ((2, 7, 6, 3), (3, 3), (2, 2), "SAME", "RELU6"),
    ((1, 5, 7, 1), (3, 2), (1, 1), "SAME", "RELU"),
    ((1, 25, 5, 8), (25, 5), (25, 5), "VALID", "NONE"),
    ((1, 9, 4, 2), (3, 4), (2, 4), "VALID", "NONE"),
    ((1, 1, 1, 3), (1, 1), (1, 1), "SAME", "RELU_N1_TO_1"),
    ((1, 12, 9, 2), (7, 5), (1, 3), "SAME", "NONE"),
    ((1, 17, 17, 1), (17, 17), (1, 1), "VALID", "NONE"),
    ((1, 3, 8, 2), (2, 1), (2, 1), "SAME", "NONE"),
]


def pool_model(
    rng: np.random.Generator, kind: str, dtype: DType, geometry: tuple[object, ...]
) -> Model:
    shape, window, strides, padding, activation = geometry
    quant = quantized(rng, dtype, 0.05)
    sizes = [
        -(-extent // stride) if padding == "SAME" else (extent - taps) // stride + 1
        for extent, taps, stride in zip(shape[1:3], window, strides, strict=True)  # type: ignore
    ]
    return op_model(
        kind,
        [data_of(rng, dtype, shape)],  # type: ignore[arg-type]
        [quant],
        (shape[0], *sizes, shape[3]),  # type: ignore[index]
        quant,
        version=3 if dtype is DType.INT16 else 2,
        padding=padding,
        filter_height=window[0],  # type: ignore[index]
        filter_width=window[1],  # type: ignore[index]
        stride_h=strides[0],  # type: ignore[index]
        stride_w=strides[1],  # type: ignore[index]
        fused_activation_function=activation,
    )


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_models_equal_litert(kind: str) -> None:
    rng = np.random.default_rng(71)
    check_models([pool_model(rng, kind, d, g) for d in DTYPES for g in GEOMETRIES])


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4"])
def test_schedules_of_the_cores_compute_the_same(target: str) -> None:
    rng = np.random.default_rng(72)
    kinds = ("AVERAGE_POOL_2D", "MAX_POOL_2D")
    models = [
        pool_model(rng, kind, d, g)
        for kind in kinds
        for d in (DType.INT8, DType.UINT8)
        for g in GEOMETRIES[:4]
    ]
    check_models(models, target)


def pool_graph(op: str, x: np.ndarray, attrs: MaxPool2dAttrs) -> Graph:
    b = GraphBuilder("pool", find_op)
    b.output(b.emit(op, [b.input("x", TensorType(x.shape, dtype_of(x)))], attrs))
    return b.build()


@pytest.mark.parametrize("rounding", ["half_away", "truncate"])
def test_averages_equal_the_reference(rounding: str) -> None:
    """Ceil mode in one pass and in two, as CMSIS-NN has it, and sums of extreme values."""
    rng = np.random.default_rng(73)
    x = rng.integers(-128, 128, (1, 16, 16, 8)).astype(np.int8)
    low, high = np.full_like(x, -128), np.full_like(x, 127)
    geometries = [
        ((3, 3), (2, 2), (0, 1, 0, 1)),
        ((1, 3), (1, 2), (0, 0, 0, 1)),
        ((3, 1), (2, 1), (0, 1, 0, 0)),
        ((15, 16), (1, 1), (0, 0, 0, 0)),
        ((16, 16), (1, 1), (1, 2, 3, 4)),
    ]
    cases, expected = [], []
    for window, strides, padding in geometries:
        attrs = AvgPool2dAttrs(window, strides, padding, rounding=rounding)
        for data in (x, low, high, x.astype(np.int16) * 256):
            cases.append((pool_graph("avg_pool2d", data, attrs), [data]))
            assert AVG_POOL2D.reference is not None
            expected.append(AVG_POOL2D.reference([data], attrs)[0])
    for (found,), wanted in zip(run_graphs(cases), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_truncation_goes_towards_zero() -> None:
    x = np.array([-5, 5, -4, 4, -3, 3], np.int8).reshape(1, 1, 6, 1)
    x = np.concatenate([x, np.zeros_like(x), np.zeros_like(x)], axis=1)
    attrs = AvgPool2dAttrs((3, 1), rounding="truncate")
    (found,) = run_graph(pool_graph("avg_pool2d", x, attrs), [x])
    assert found.reshape(-1).tolist() == [-1, 1, -1, 1, -1, 1]
    (found,) = run_graph(pool_graph("avg_pool2d", x, AvgPool2dAttrs((3, 1))), [x])
    assert found.reshape(-1).tolist() == [-2, 2, -1, 1, -1, 1]


def test_max_in_ceil_mode_equals_the_reference() -> None:
    rng = np.random.default_rng(74)
    x = rng.integers(-128, 0, (2, 8, 7, 3)).astype(np.int8)
    attrs = MaxPool2dAttrs((3, 3), (2, 2), (0, 1, 0, 1))
    assert MAX_POOL2D.reference is not None
    (expected,) = MAX_POOL2D.reference([x], attrs)
    (found,) = run_graph(pool_graph("max_pool2d", x, attrs), [x])
    np.testing.assert_array_equal(found, expected)


def test_type_rules_refuse() -> None:
    x = [TensorType((1, 4, 4, 1), DType.INT8)]
    with pytest.raises(ModelError, match="a window lies outside of the image"):
        MAX_POOL2D.infer(x, MaxPool2dAttrs((2, 2), padding=(0, 2, 0, 0)))
    with pytest.raises(ModelError, match="unknown rounding"):
        AVG_POOL2D.infer(x, AvgPool2dAttrs((2, 2), rounding="up"))
