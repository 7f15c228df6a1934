"""gather: compiled TFLite operators equal LiteRT; nothing outside the operand is ever read."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiled import run_graph
from tests.op.plain_models import Plain, check_plain
from tests.op.quantized_models import add_tensor, random_quant
from tests.op.single_op_models import Model, check_models, data_of
from tests.tflite_builder import ModelBuilder
from utvm.driver.pipeline import compile_graph
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.elementwise import BinaryAttrs
from utvm.op.gather import GatherAttrs
from utvm.op.registry import find_op
from utvm.support.errors import ModelError
from utvm.target.target import load_target

I8, F32 = DType.INT8, DType.FLOAT32
# Operand's shape, axis, shape of the indices.
CASES = [((5, 3), 0, (4,)), ((2, 6, 3), 1, (2, 2)), ((3, 4), 1, (1,)), ((7,), 0, (3, 2))]


def gather_model(
    rng: np.random.Generator,
    dtype: DType,
    case: tuple[tuple[int, ...], int, tuple[int, ...]],
    constant: bool,
) -> Model:
    shape, axis, chosen = case
    builder = ModelBuilder()
    quant = None if dtype is F32 else random_quant(rng, dtype)
    data = data_of(rng, dtype, shape)
    x = add_tensor(builder, quant, data, False)
    at = rng.integers(0, shape[axis], chosen).astype(rng.choice([np.int32, np.int64]))
    indices = add_tensor(builder, None, at, constant)
    result = np.take(data, at, axis=axis)
    out = add_tensor(builder, quant, result, False)
    builder.op("GATHER", [x, indices], [out], version=2, axis=axis)
    inputs = (data,) if constant else (data, at)
    model = builder.build([x] if constant else [x, indices], [out])
    return Model(model, inputs, f"gather {dtype} {case} {constant}")


def test_models_equal_litert() -> None:
    rng = np.random.default_rng(181)
    check_models([
        gather_model(rng, dtype, case, constant)
        for dtype in (I8, DType.UINT8, DType.INT16, F32)
        for case in CASES
        for constant in (True, False)
    ])  # fmt: skip


def test_plain_numbers_equal_the_reference() -> None:
    rng = np.random.default_rng(182)
    cases = []
    for shape, axis, chosen in CASES:
        at = rng.integers(0, shape[axis], chosen).astype(np.int64)
        for constant in ([], [1], [0]):
            operands = [data_of(rng, I8, shape), at]
            cases.append(Plain("gather", operands, GatherAttrs(axis), constant=constant))
    check_plain(cases)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
def test_indices_outside_are_limited(dtype: type) -> None:
    info = np.iinfo(dtype)
    x = np.arange(10, 16, dtype=np.int32).reshape(3, 2)
    at = np.array([info.min, -1, 0, 2, 3, info.max], dtype)
    (found,) = run_graph(Plain("gather", [x, at], GatherAttrs(0)).graph(), [x, at])
    assert found[:, 0].tolist() == [10, 10, 10, 14, 14, 14]


def test_constant_indices_outside_are_refused() -> None:
    x, at = np.zeros((3, 2), np.int8), np.array([0, 3], np.int32)
    graph = Plain("gather", [x, at], GatherAttrs(0), constant=[1]).graph()
    with pytest.raises(ModelError, match="an index is outside its axis") as caught:
        compile_graph(graph, load_target("host"))
    assert caught.value.expected == "0 to 2"


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1, 1), (2, 2, 2, 3)])
def test_operators_behind_are_fused(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(183)
    x = rng.integers(-99, 99, (2, 5, 3)).astype(np.int32)
    at = np.array([[4, 0], [1, 1]], np.int32)
    addend = rng.integers(-99, 99, shape).astype(np.int32)
    b = GraphBuilder("fused", find_op)
    taken = b.emit("gather", [b.input("x", TensorType(x.shape, DType.INT32)), b.constant(at)],
                   GatherAttrs(1))  # fmt: skip
    b.output(b.emit("add", [taken, b.constant(addend)], BinaryAttrs()))
    graph = b.build()
    assert len(compile_graph(graph, load_target("host")).module.functions) == 1
    (found,) = run_graph(graph, [x])
    np.testing.assert_array_equal(found, np.take(x, at, axis=1) + addend)
