"""concat: compiled TFLite operators equal LiteRT, plain ones the reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiled import run_graph
from tests.op.plain_models import Plain, check_plain
from tests.op.quantized_models import all_values, random_quant
from tests.op.single_op_models import Model, check_models, data_of, op_model
from utvm.driver.pipeline import compile_graph
from utvm.importers.tflite import import_tflite
from utvm.ir.dtype import DType, dtype_of
from utvm.ir.graph import Graph, Quantization, TensorType, Value
from utvm.op.builder import GraphBuilder
from utvm.op.concat import ConcatAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.registry import find_op
from utvm.support.errors import ModelError, UnsupportedError
from utvm.target.target import load_target

I8, U8, F32 = DType.INT8, DType.UINT8, DType.FLOAT32
DTYPES = [I8, U8, DType.INT16, DType.INT32, DType.INT64, F32]
# Extents along the axis, the axis, the shape around it.
CASES = [
    ((3, 2), 3, (1, 4, 5, 0)),
    ((1, 1, 4), 1, (2, 0, 3)),
    ((2, 2), 0, (0, 7)),
    ((5,), 2, (2, 3, 0)),
    ((1, 2, 3, 4), 0, (0,)),
    ((1, 1), 1, (3, 0, 1)),
]


def parts(axis: int, extents: tuple[int, ...], around: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [(*around[:axis], n, *around[axis + 1 :]) for n in extents]


def test_models_equal_litert() -> None:
    rng = np.random.default_rng(141)
    models = []
    for dtype in DTYPES:
        quantized = dtype in (I8, U8, DType.INT16)
        quant = random_quant(rng, dtype) if quantized else None
        for extents, axis, around in CASES:
            data = [data_of(rng, dtype, shape) for shape in parts(axis, extents, around)]
            (out,) = parts(axis, (sum(extents),), around)
            quants = [quant] * len(data)
            models.append(op_model("CONCATENATION", data, quants, out, quant, version=2, axis=axis))
    check_models(models)


def rescaled_model(rng: np.random.Generator, count: int) -> Model:
    """uint8 operands on scales of their own; the last one on the result's."""
    data = [all_values(U8) for _ in range(count)]
    quants = [random_quant(rng, U8, -5, -2) for _ in range(count)]
    return op_model("CONCATENATION", data, quants, (count, 256), quants[-1], axis=0)


def test_bytes_of_other_scales_are_rescaled_as_litert_does() -> None:
    rng = np.random.default_rng(142)
    models = [rescaled_model(rng, count) for count in (2, 3, 4)]
    check_models(models)
    graph = import_tflite(models[0].data, name="model", find_op=find_op)
    compiled = compile_graph(graph, load_target("host"))
    assert [node.op for node in compiled.graph.nodes] == ["lut", "concat"]


def test_plain_numbers_equal_the_reference() -> None:
    rng = np.random.default_rng(143)
    check_plain([
        Plain("concat", [data_of(rng, I8, s) for s in parts(axis, extents, around)],
              ConcatAttrs(axis), constant=[0] if len(extents) > 1 else [])
        for extents, axis, around in CASES
    ])  # fmt: skip


def concat_and_add(addend: np.ndarray) -> Graph:
    """concat of [2,3,4] and [2,2,4] along axis 1, plus a constant."""
    b = GraphBuilder("fused", find_op)
    inputs = [b.input("x", TensorType((2, n, 4), DType.INT32)) for n in (3, 2)]
    joined = b.emit("concat", inputs, ConcatAttrs(1))
    b.output(b.emit("add", [joined, b.constant(addend)], BinaryAttrs()))
    return b.build()


@pytest.mark.parametrize("shape", [(1,), (4,), (5, 1), (2, 5, 4)])
def test_operators_behind_are_fused(shape: tuple[int, ...]) -> None:
    """Whatever broadcasts behind it, the result's loops are such that it can be read."""
    rng = np.random.default_rng(144)
    a, b = (rng.integers(-99, 99, (2, n, 4)).astype(np.int32) for n in (3, 2))
    addend = rng.integers(-99, 99, shape).astype(np.int32)
    graph = concat_and_add(addend)
    assert len(compile_graph(graph, load_target("host")).module.functions) == 1
    (found,) = run_graph(graph, [a, b])
    np.testing.assert_array_equal(found, np.concatenate([a, b], axis=1) + addend)


def test_misfits_are_refused() -> None:
    a, b = np.zeros((2, 3), np.int8), np.zeros((3, 3), np.int8)
    with pytest.raises(ModelError, match="operands differ beside the axis"):
        Plain("concat", [a, b], ConcatAttrs(1)).graph()
    with pytest.raises(ModelError, match="the axis does not exist"):
        Plain("concat", [a, a], ConcatAttrs(2)).graph()
    with pytest.raises(ModelError, match="element types differ"):
        Plain("concat", [a, a.astype(np.int16)], ConcatAttrs(0)).graph()


def test_other_scales_are_refused_but_for_uint8() -> None:
    builder = GraphBuilder("model", find_op)
    data = np.zeros((1, 3), np.int8)
    names = [
        builder.input("x", TensorType(data.shape, dtype_of(data)), Quantization((scale,), (0,)))
        for scale in (0.5, 0.25)
    ]
    result = Value("y", TensorType((2, 3), I8), Quantization((0.5,), (0,)))
    builder.add_node("concat", names, [builder.add_value(result)], ConcatAttrs(0))
    builder.output("y")
    with pytest.raises(UnsupportedError, match="must be quantized as its result"):
        compile_graph(builder.build(), load_target("host"))
