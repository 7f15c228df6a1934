"""mul, maximum and minimum: compiled TFLite operators equal LiteRT, plain ones the reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.op.plain_models import Plain, check_plain
from tests.op.quantized_models import add_tensor, random_data, random_quant
from tests.op.single_op_models import Model, check_models, data_of, op_model
from tests.tflite_builder import ModelBuilder
from utvm.driver.pipeline import compile_graph
from utvm.importers.tflite import import_tflite
from utvm.ir.dtype import DType
from utvm.op.elementwise import BinaryAttrs
from utvm.op.quantize_params import Quant
from utvm.op.registry import find_op
from utvm.target.target import load_target

I8, U8, I16, F32 = DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32
DTYPES = [I8, U8, I16, F32]
ACTIVATIONS = ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]
SHAPES = [
    ((1, 5, 3, 4), (1, 5, 3, 4)),
    ((2, 3, 4), (4,)),
    ((1, 1, 7), (3, 5, 1)),
    ((6,), (1,)),
    ((1,), (2, 3)),
    ((1, 1, 1, 5), (2, 3, 3, 5)),
]


def product_model(
    rng: np.random.Generator, dtype: DType, shapes: tuple[tuple[int, ...], ...], activation: str
) -> Model:
    data = [data_of(rng, dtype, shape) for shape in shapes]
    out_shape = np.broadcast_shapes(*shapes)
    if dtype is F32:
        quants: list[Quant | None] = [None, None]
        out = None
    else:
        left, right = random_quant(rng, dtype), random_quant(rng, dtype)
        # A result that spreads over its type, give or take a few octaves.
        spread = left.f64 * right.f64 * 2.0 ** rng.uniform(4, 9)
        out = Quant(float(np.float32(spread)), random_quant(rng, dtype).zero_point, dtype)
        quants = [left, right]
    options = {"fused_activation_function": activation}
    return op_model("MUL", data, quants, out_shape, out, version=2, **options)


def test_products_equal_litert() -> None:
    rng = np.random.default_rng(91)
    models = [
        product_model(rng, dtype, shapes, ACTIVATIONS[number % 4])
        for dtype in DTYPES
        for number, shapes in enumerate([*SHAPES, *SHAPES[:3]])
    ]
    check_models(models)


def fixed_operand_model(rng: np.random.Generator, dtype: DType, first: bool) -> Model:
    """One operand is a constant of one element."""
    builder = ModelBuilder()
    x = random_data(rng, dtype, (2, 130))
    varying = add_tensor(builder, random_quant(rng, dtype), x, False)
    fixed = add_tensor(builder, random_quant(rng, dtype), random_data(rng, dtype, (1, 1)), True)
    out = add_tensor(builder, random_quant(rng, dtype), x, False)
    operands = [fixed, varying] if first else [varying, fixed]
    builder.op("MUL", operands, [out], version=2)
    return Model(builder.build([varying], [out]), (x,), f"fixed {dtype} {first}")


def square_model(rng: np.random.Generator, dtype: DType) -> Model:
    builder = ModelBuilder()
    x = random_data(rng, dtype, (300,))
    operand = add_tensor(builder, random_quant(rng, dtype), x, False)
    out = add_tensor(builder, random_quant(rng, dtype), x, False)
    builder.op("MUL", [operand, operand], [out], version=2)
    return Model(builder.build([operand], [out]), (x,), f"square {dtype}")


def test_products_of_one_varying_operand_equal_litert() -> None:
    rng = np.random.default_rng(92)
    models = [fixed_operand_model(rng, d, first) for d in (I8, U8) for first in (True, False)]
    check_models([*models, square_model(rng, I8), square_model(rng, U8)])


def test_products_of_one_varying_byte_are_tables() -> None:
    rng = np.random.default_rng(93)
    for model in (fixed_operand_model(rng, I8, True), square_model(rng, U8)):
        graph = import_tflite(model.data, name="model", find_op=find_op)
        compiled = compile_graph(graph, load_target("cortex-m4"))
        assert [node.op for node in compiled.graph.nodes] == ["lut"]


@pytest.mark.parametrize("kind", ["MAXIMUM", "MINIMUM"])
def test_selections_equal_litert(kind: str) -> None:
    rng = np.random.default_rng(94)
    models = []
    for dtype in [*DTYPES, DType.INT32, DType.INT64]:
        numbers = dtype in (DType.INT32, DType.INT64, F32)
        quant = None if numbers else random_quant(rng, dtype)
        for shapes in SHAPES:
            data = [data_of(rng, dtype, shape) for shape in shapes]
            out_shape = np.broadcast_shapes(*shapes)
            models.append(op_model(kind, data, [quant, quant], out_shape, quant, version=2))
    check_models(models)


def test_plain_integers_equal_the_reference() -> None:
    rng = np.random.default_rng(95)
    cases = []
    for dtype in (np.int8, np.uint8, np.int16, np.int32, np.int64):
        a, b = (rng.integers(0, 100, shape).astype(dtype) for shape in ((3, 4, 5), (4, 1)))
        cases += [Plain("mul", [a // 10, b // 10], BinaryAttrs())]
        cases += [Plain(op, [a, b]) for op in ("maximum", "minimum")]
        cases += [Plain("mul", [a // 10, a[0, 0, :1] // 10], BinaryAttrs(), constant=[1])]
    check_plain(cases)
