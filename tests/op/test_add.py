"""add and sub: compiled TFLite operators equal LiteRT, plain ones the reference."""

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
from utvm.ir.graph import TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.elementwise import BinaryAttrs
from utvm.op.quantize_params import Quant
from utvm.op.registry import find_op
from utvm.op.sum_linear import SumLinearAttrs, emit_sum_linear
from utvm.target.target import load_target

I8, U8, I16, F32 = DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32
I32, I64 = DType.INT32, DType.INT64
ACTIVATIONS = ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]
SHAPES = [
    ((1, 5, 3, 4), (1, 5, 3, 4)),
    ((2, 3, 4), (4,)),
    ((1, 1, 7), (3, 5, 1)),
    ((6,), (1,)),
    ((1,), (2, 3)),
    ((64, 256), (64, 256)),
]


def sum_model(
    rng: np.random.Generator,
    kind: str,
    dtype: DType,
    shapes: tuple[tuple[int, ...], ...],
    activation: str,
) -> Model:
    data = [data_of(rng, dtype, shape) for shape in shapes]
    out_shape = np.broadcast_shapes(*shapes)
    options = {"fused_activation_function": activation}
    if dtype in (F32, I32, I64):
        data = [array if dtype is F32 else array >> 2 for array in data]
        return op_model(kind, data, [None, None], out_shape, None, version=1, **options)
    left, right = random_quant(rng, dtype, -8, -4), random_quant(rng, dtype, -8, -4)
    scale = max(left.scale, right.scale) * 2.0 ** rng.uniform(-1, 1.5)
    out = Quant(float(np.float32(scale)), random_quant(rng, dtype).zero_point, dtype)
    options["pot_scale_int16"] = False
    return op_model(kind, data, [left, right], out_shape, out, version=2, **options)


@pytest.mark.parametrize("kind", ["ADD", "SUB"])
def test_models_equal_litert(kind: str) -> None:
    rng = np.random.default_rng(211)
    check_models([
        sum_model(rng, kind, dtype, shapes, ACTIVATIONS[number % 4])
        for dtype in (I8, U8, I16, F32)
        for number, shapes in enumerate([*SHAPES, *SHAPES[:3]])
    ] + [sum_model(rng, kind, dtype, SHAPES[0], "NONE") for dtype in (I32, I64)])  # fmt: skip


@pytest.mark.parametrize("kind", ["ADD", "SUB"])
def test_powers_of_two_equal_litert(kind: str) -> None:
    rng = np.random.default_rng(212)
    models = []
    for left, right in ((0, 0), (-3, 0), (0, -2)):
        data = [random_data(rng, I16, (300,)) for _ in range(2)]
        quants: list[Quant | None] = [Quant(2.0 ** (shift - 9), 0, I16) for shift in (left, right)]
        out = Quant(2.0**-9, 0, I16)
        models.append(op_model(kind, data, quants, (300,), out, version=2, pot_scale_int16=True))
    check_models(models)


def fixed_model(rng: np.random.Generator, kind: str, dtype: DType, first: bool | None) -> Model:
    """One operand is a constant of one element; None: both are the same tensor."""
    builder = ModelBuilder()
    x = random_data(rng, dtype, (2, 130))
    left, right = (random_quant(rng, dtype, -8, -4) for _ in range(2))
    varying = add_tensor(builder, left, x, False)
    fixed = add_tensor(builder, right, random_data(rng, dtype, (1, 1)), True)
    out = add_tensor(builder, Quant(left.scale * 2, 3, dtype), x, False)
    operands = {True: [fixed, varying], False: [varying, fixed], None: [varying, varying]}[first]
    builder.op(kind, operands, [out], version=2)
    return Model(builder.build([varying], [out]), (x,), f"{kind} {dtype} {first}")


def test_sums_of_one_varying_byte_are_tables() -> None:
    rng = np.random.default_rng(213)
    models = [
        fixed_model(rng, kind, dtype, first)
        for kind in ("ADD", "SUB")
        for dtype in (I8, U8)
        for first in (True, False, None)
    ]
    check_models(models)
    for model in models:
        graph = import_tflite(model.data, name="model", find_op=find_op)
        compiled = compile_graph(graph, load_target("cortex-m4"))
        assert [node.op for node in compiled.graph.nodes] == ["lut"]


def pairs_model(kind: str, dtype: DType, quants: list[Quant], activation: str) -> Model:
    """Every pair of two bytes."""
    values = np.arange(dtype.minimum, dtype.maximum + 1).astype(dtype.numpy)
    data = [values[:, None], values[None]]
    options = {"fused_activation_function": activation}
    return op_model(kind, data, [*quants[:2]], (256, 256), quants[2], version=2, **options)


def plain_ops(model: Model) -> list[str]:
    graph = import_tflite(model.data, name="model", find_op=find_op)
    return [node.op for node in compile_graph(graph, load_target("cortex-m4")).graph.nodes]


def test_sums_of_bytes_are_one_shift_and_exact_for_every_pair() -> None:
    rng = np.random.default_rng(215)
    models = []
    for kind in ("ADD", "SUB"):
        for number, dtype in enumerate((I8, U8, I8, U8)):
            left, right = random_quant(rng, dtype, -8, -4), random_quant(rng, dtype, -8, -4)
            scale = max(left.scale, right.scale) * (1.0, 0.7, 1.9, 3.0)[number]
            out = Quant(float(np.float32(scale)), random_quant(rng, dtype).zero_point, dtype)
            models.append(pairs_model(kind, dtype, [left, right, out], ACTIVATIONS[number]))
    assert all(plain_ops(model) == ["sum_linear"] for model in models)
    check_models(models)


def test_halves_of_both_signs_go_away_from_zero() -> None:
    half, one = Quant(0.5, 0, I8), Quant(1.0, 0, I8)
    models = [pairs_model(kind, I8, [half, half, one], "NONE") for kind in ("ADD", "SUB")]
    assert all(plain_ops(model) == ["sum_linear"] for model in models)
    check_models(models)


def test_no_constants_are_made_up_for_what_is_no_sum() -> None:
    b = GraphBuilder("sum", find_op)
    names = [b.input(name, TensorType((4,), I8)) for name in "xy"]
    rounded = np.add.outer(np.arange(-128, 128), np.arange(-128, 128)) // 2
    wrong = rounded.copy()
    wrong[100, 100] += 1
    found = [
        emit_sum_linear(b, names, table, (0.5, 0.5), (-128, 127), I8) for table in (rounded, wrong)
    ]
    assert found == ["sum_linear", None]


def test_plain_sums_equal_the_reference() -> None:
    rng = np.random.default_rng(216)
    shapes = [((3, 40), (3, 40)), ((2, 3, 5), (5,)), ((4, 1), (3,))]
    cases = []
    for dtype in (I8, U8):
        for left, right in shapes:
            weights = (int(rng.integers(1 << 20, 1 << 21)), -int(rng.integers(1 << 20, 1 << 21)))
            attrs = SumLinearAttrs("int8", -128, 100, weights, -(1 << 21), 21)
            operands = [random_data(rng, dtype, shape) for shape in (left, right)]
            cases.append(Plain("sum_linear", operands, attrs))
    check_plain(cases)


def test_plain_numbers_equal_the_reference() -> None:
    rng = np.random.default_rng(214)
    cases = []
    for name in ("int8", "int16", "int32", "int64", "float32"):
        a, b = (rng.integers(-50, 50, shape).astype(name) for shape in ((3, 4, 5), (4, 1)))
        cases += [Plain(op, [a, b], BinaryAttrs()) for op in ("add", "sub")]
    check_plain(cases)
