"""Reductions and arg_max: compiled TFLite operators equal LiteRT, plain ones the reference."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.compiled import run_graphs
from tests.op.quantized_models import random_quant
from tests.op.single_op_models import Model, check_models, data_of, op_model
from utvm.ir.dtype import DType, dtype_of
from utvm.ir.graph import Attrs, Graph, TensorType
from utvm.op.add import OP as ADD
from utvm.op.arg_max import ARG_MAX, ArgMaxAttrs
from utvm.op.builder import GraphBuilder
from utvm.op.reduce import MEAN, REDUCE_MAX, REDUCE_MIN, SUM, ReduceAttrs
from utvm.op.registry import find_op
from utvm.support.errors import ModelError

SHAPES_AND_AXES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((1, 5, 7, 6), (1, 2)),
    ((2, 3, 4, 5), (3,)),
    ((2, 3, 4, 5), (0, 2)),
    ((2, 3, 4, 5), (1, 3)),
    ((2, 3, 4), (0, 1, 2)),
    ((1, 1, 9), (1,)),
    ((13,), (0,)),
]
QUANTIZED = [DType.INT8, DType.UINT8, DType.INT16]


def reduced_shape(shape: tuple[int, ...], axes: tuple[int, ...], keep: bool) -> tuple[int, ...]:
    return np.empty(shape).sum(axis=axes, keepdims=keep).shape


def reduce_model(
    rng: np.random.Generator,
    kind: str,
    dtype: DType,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    keep: bool,
) -> Model:
    quants: list[Any] = [None, None]
    if dtype in QUANTIZED:
        quants = [random_quant(rng, dtype, -5, 0), random_quant(rng, dtype, -5, 0)]
        if kind.startswith("REDUCE"):
            quants[1] = quants[0]
    data = data_of(rng, dtype, shape)
    if dtype in (DType.INT32, DType.INT64):
        data = (data >> 16).astype(dtype.numpy)
    return op_model(
        kind,
        [data],
        quants[:1],
        reduced_shape(shape, axes, keep),
        quants[1],
        constants=[np.array(axes, np.int32)],
        version=2,
        keep_dims=keep,
    )


@pytest.mark.parametrize(
    ("kind", "dtypes"),
    [
        ("MEAN", [*QUANTIZED, DType.FLOAT32, DType.INT32, DType.INT64]),
        # LiteRT's reference kernel reads int8 and int16 as uint8 here.
        ("SUM", [DType.UINT8, DType.FLOAT32, DType.INT32, DType.INT64]),
        ("REDUCE_MAX", [*QUANTIZED, DType.FLOAT32, DType.INT32, DType.INT64]),
    ],
)
def test_models_equal_litert(kind: str, dtypes: list[DType]) -> None:
    rng = np.random.default_rng(81)
    models = [
        reduce_model(rng, kind, dtype, shape, axes, bool((i + j) % 2))
        for i, dtype in enumerate(dtypes)
        for j, (shape, axes) in enumerate(SHAPES_AND_AXES)
    ]
    check_models(models)


def test_positions_equal_litert() -> None:
    rng = np.random.default_rng(82)
    models = []
    for dtype, axis in itertools.product((DType.INT8, DType.UINT8, DType.FLOAT32), (0, 1, -1)):
        data = (data_of(rng, dtype, (4, 7, 5)) / 8).astype(dtype.numpy)
        out_dtype = np.int64 if axis == 1 else np.int32
        quant = None if dtype is DType.FLOAT32 else random_quant(rng, dtype)
        models.append(
            op_model(
                "ARG_MAX",
                [data],
                [quant],
                data.argmax(axis=axis).shape,
                None,
                out_dtype=out_dtype,
                constants=[np.array(axis, np.int32)],
                output_type=out_dtype,
            )
        )
    check_models(models)


def one_op_graph(op: str, x: np.ndarray, attrs: Attrs) -> Graph:
    b = GraphBuilder("reduce", find_op)
    b.output(b.emit(op, [b.input("x", TensorType(x.shape, dtype_of(x)))], attrs))
    return b.build()


def test_compiled_equals_reference() -> None:
    rng = np.random.default_rng(83)
    cases, expected = [], []
    for op in (SUM, MEAN, REDUCE_MAX, REDUCE_MIN):
        for dtype, (shape, axes) in itertools.product(QUANTIZED, SHAPES_AND_AXES):
            data = data_of(rng, dtype, shape)
            attrs = ReduceAttrs(axes, keep_dims=len(axes) == 1)
            assert op.reference is not None
            cases.append((one_op_graph(op.name, data, attrs), [data]))
            expected.append(op.reference([data], attrs)[0])
    ties = np.array([[3, 7, 7, 1], [5, 5, 5, 5]], np.int8)
    cases.append((one_op_graph("arg_max", ties, ArgMaxAttrs(1)), [ties]))
    cases.append((one_op_graph("arg_min", ties, ArgMaxAttrs(1, "int64")), [ties]))
    expected += [np.array([1, 0], np.int32), np.array([3, 0], np.int64)]
    for (found,), wanted in zip(run_graphs(cases), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_kept_axes_stay_apart_under_a_broadcast_operand() -> None:
    """What is fused behind may need the result's own index: [2, 3, 5] + [2, 1, 5]."""
    rng = np.random.default_rng(84)
    x = rng.integers(-100, 100, (2, 3, 4, 5)).astype(np.int32)
    y = rng.integers(-100, 100, (2, 1, 5)).astype(np.int32)
    cases, expected = [], []
    for keep in (False, True):
        b = GraphBuilder("fused", find_op)
        names = [b.input("x", TensorType(x.shape, DType.INT32))]
        other = y[:, :, None] if keep else y
        names.append(b.input("y", TensorType(other.shape, DType.INT32)))
        total = b.emit("sum", names[:1], ReduceAttrs((2,), keep))
        b.output(b.emit("add", [total, names[1]], ADD.attrs()))
        cases.append((b.build(), [x, other]))
        expected.append(x.sum(axis=2, keepdims=keep) + other)
    for (found,), wanted in zip(run_graphs(cases), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_type_rules_refuse() -> None:
    x = [TensorType((2, 3), DType.INT8)]
    with pytest.raises(ModelError, match="the axis does not exist"):
        SUM.infer(x, ReduceAttrs((2,)))
    with pytest.raises(ModelError, match="an axis is reduced twice"):
        SUM.infer(x, ReduceAttrs((1, 1)))
    with pytest.raises(ModelError, match="truth values have no sum"):
        SUM.infer([TensorType((2,), DType.BOOL)], ReduceAttrs((0,)))
    with pytest.raises(ModelError, match="positions are integers"):
        ARG_MAX.infer(x, ArgMaxAttrs(0, "float32"))
